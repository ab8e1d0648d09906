# frozen_string_literal: true

require "fcntl"
require "io/nonblock"

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    describe "#pipe", needs: :pipe do
      it "makes the two ends of a pipe, as IO.pipe does" do
        everywhere do |ring|
          reader, writer = ring.pipe.map { |descriptor| adopted(descriptor) }
          expect([reader, writer].map(&:close_on_exec?)).to eq([true, true])
          writer.syswrite("through")
          expect(reader.sysread(9)).to eq("through")
          expect(reader.fcntl(Fcntl::F_GETFL) & File::NONBLOCK).to eq(0)
          ends = ring.pipe(File::NONBLOCK).map { |descriptor| adopted(descriptor) }
          expect(ends.map { |io| io.fcntl(Fcntl::F_GETFL) & File::NONBLOCK }).to eq([File::NONBLOCK] * 2)
        end
      end

      it "refuses flags that pipe2 does not know" do
        everywhere do |ring|
          before = descriptors
          expect(raised { ring.pipe(File::APPEND) }).to be_a(Errno::EINVAL)
          expect(descriptors).to eq(before)
        end
      end
    end

    describe "#splice and #tee" do
      it "end when another fiber cancels the calls on one of their descriptors" do
        scheduled do
          with_ring do |ring|
            reader, = pipe
            _, writer = pipe
            # Without io_uring these two answer EAGAIN for pipes with O_NONBLOCK.
            [reader, writer].each { |io| io.nonblock = false }
            [reader, writer].product(%i[splice tee]).each do |descriptor, name|
              error = nil
              fiber = Fiber.schedule { error = raised { ring.public_send(name, reader, writer, 1) } }
              # Linux 6.1 once missed a cancel that came just when its thread took the work.
              eventually { ring.cancel(descriptor).zero? && !fiber.alive? }
              expect(error).to be_a(Errno::ECANCELED)
            end
          end
        end
      end

      it "move bytes between pipes, files and sockets" do
        everywhere do |ring|
          file = closing(File.open(file_with("0123456789")))
          reader, writer = pipe
          other_reader, other_writer = pipe
          expect(ring.splice(file, writer, 4, from_offset: 2)).to eq(4)
          expect(ring.tee(reader, other_writer, 4)).to eq(4)
          expect([reader.read_nonblock(9), other_reader.read_nonblock(9)]).to eq(%w[2345 2345])
          ring.splice(file, writer, 3)
          ring.splice(file, writer, 3)
          target = closing(File.open(file_with("........"), "r+"))
          expect(ring.splice(reader, target, 6, to_offset: 1)).to eq(6)
          expect(File.read(target.path)).to eq(".012345.")
          receiver, sender = unix_pair
          ring.splice(file, writer, 2, from_offset: 8)
          expect(ring.splice(reader, sender, 2)).to eq(2)
          expect(receiver.recv(9)).to eq("89")
        end
      end

      it "return 0 at the end" do
        everywhere do |ring|
          file = closing(File.open(file_with("x")))
          expect(ring.splice(file, pipe.last, 9, from_offset: 1)).to eq(0)
          # A kernel thread may still hold the pipe of the splice before, so that pipe has not reached its end yet.
          reader, writer = pipe
          writer.close
          expect(ring.splice(reader, pipe.last, 9)).to eq(0)
        end
      end

      it "raise the errors of their calls" do
        everywhere do |ring|
          file, other = Array.new(2) { closing(File.open(file_with("x"), "r+")) }
          reader, writer = pipe
          expect(raised { ring.splice(file, other, 1) }).to be_a(Errno::EINVAL)
          expect(raised { ring.splice(file, reader, 1) }).to be_a(Errno::EBADF)
          expect(raised { ring.splice(reader, writer, 1, from_offset: 1) }).to be_a(Errno::ESPIPE)
          expect(raised { ring.splice(9999, writer, 1) }).to be_a(Errno::EBADF)
          expect(raised { ring.tee(file, writer, 1) }).to be_a(Errno::EINVAL)
          expect(raised { ring.tee(9999, writer, 1) }.message).to match(/tee/)
        end
      end
    end
  end
end
