# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    # The exceptions of an attempt to free the buffer, and of one to resize it.
    def touched(buffer)
      [raised { buffer.free }, raised { buffer.resize(1 << 20) }].map(&:class)
    end

    locked = [IO::Buffer::LockedError] * 2

    describe "#madvise" do
      it "passes advice to the kernel, and leaves the memory as it is" do
        file = closing(File.open(file_with("x" * 10_000)))
        everywhere do |ring|
          mapped = IO::Buffer.map(file, nil, 0, IO::Buffer::READONLY)
          UringIO::Ring::Operations::MEMORY_ADVICE.each_key do |advice|
            outcome = ring.batch { |calls| calls.madvise(mapped, advice) }.first
            # Some advice is for another kind of memory, or for a newer kernel.
            expect(outcome).to be_nil.or(be_a(Errno::EINVAL)).or(be_a(Errno::EFAULT)), advice.to_s
          end
          expect(ring.madvise(mapped, :willneed, at: 4096, length: 4096)).to be_nil
          expect([mapped.get_string, mapped.locked?]).to eq(["x" * 10_000, false])
        end
      end

      it "locks the buffer until the call has ended" do
        everywhere do |ring|
          buffer = IO::Buffer.new(8192)
          ring.batch do |calls|
            calls.madvise(buffer, :willneed)
            expect([buffer.locked?, *touched(buffer)]).to eq([true, *locked])
          end
          expect(buffer.locked?).to be(false)
        end
      end

      it "raises EINVAL for an address inside of a page" do
        everywhere do |ring|
          expect(raised { ring.madvise(IO::Buffer.new(8192), :willneed, at: 1) }).to be_a(Errno::EINVAL)
        end
      end
    end

    describe "#readv and #writev" do
      it "fill and write out one piece of memory after the other" do
        everywhere do |ring|
          file = closing(File.open(free_path, "w+"))
          pieces = ["ab", buffer_of("cde"), +"f", "gh"]
          expect(ring.writev(file, pieces)).to eq(8)
          expect(ring.writev(file, %w[X Y], offset: 1)).to eq(2)
          expect(File.read(file.path)).to eq("aXYdefgh")
          buffers = [3, 4, 9].map { |size| IO::Buffer.new(size) }
          expect(ring.readv(file, buffers, offset: 0)).to eq(8)
          expect(buffers.map(&:get_string)).to eq(["aXY", "defg", "h#{"\0" * 8}"])
          expect([ring.readv(file, buffers, offset: 8), ring.readv(file, buffers)]).to eq([0, 0])
        end
      end

      it "work on pipes and sockets" do
        everywhere do |ring|
          [pipe, unix_pair].each do |reader, writer|
            expect(ring.writev(writer, %w[one two])).to eq(6)
            buffers = [4, 4].map { |size| IO::Buffer.new(size) }
            expect(ring.readv(reader, buffers)).to eq(6)
            expect(buffers.map(&:get_string)).to eq(["onet", "wo\0\0"])
            writer.close
            expect(ring.readv(reader, buffers)).to eq(0)
          end
        end
      end

      it "wait for later input" do
        scheduled do
          with_ring do |ring|
            [pipe, unix_pair].each do |reader, writer|
              buffer = IO::Buffer.new(4)
              waiting = Fiber.schedule { ring.readv(reader, [buffer]) }
              expect(touched(buffer)).to eq(locked)
              writer.write("late")
              eventually { !waiting.alive? }
              expect(buffer.get_string).to eq("late")
            end
          end
        end
      end

      it "take 1 to 1024 pieces" do
        everywhere do |ring|
          file = closing(File.open(free_path, "w+"))
          expect(ring.writev(file, ["x"] * 1024)).to eq(1024)
          [[], ["x"] * 1025].each { |pieces| expect(raised { ring.writev(file, pieces) }).to be_a(ArgumentError) }
          expect(raised { ring.readv(file, []) }).to be_a(ArgumentError)
        end
      end

      it "refuse to read into anything but distinct IO::Buffers" do
        everywhere do |ring|
          file = closing(File.open(file_with("x")))
          good = IO::Buffer.new(8)
          ["string", nil, 5].each { |piece| expect(raised { ring.readv(file, [good, piece]) }).to be_a(TypeError) }
          expect(raised { ring.readv(file, [good, good.slice(0, 4)]) }).to be_a(ArgumentError)
          expect(raised { ring.readv(file, good) }).to be_a(TypeError)
          expect(raised { ring.writev(file, ["x", 5]) }).to be_a(TypeError)
          expect(good.locked?).to be(false)
        end
      end

      it "accept the same buffer twice" do
        everywhere do |ring|
          file = closing(File.open(free_path, "w+"))
          buffer = buffer_of("ab")
          expect(ring.writev(file, [buffer, buffer])).to eq(4)
          expect(File.read(file.path)).to eq("abab")
          expect(buffer.locked?).to be(false)
        end
      end

      it "raise the errors of their calls" do
        everywhere do |ring|
          reader, writer = pipe
          expect(raised { ring.writev(reader, ["x"]) }).to be_a(Errno::EBADF)
          expect(raised { ring.readv(writer, [IO::Buffer.new(1)]) }).to be_a(Errno::EBADF)
          expect(raised { ring.readv(9999, [IO::Buffer.new(1)]) }.message).to match(/readv/)
          reader.close
          expect(raised { ring.writev(writer, ["x"]) }).to be_a(Errno::EPIPE)
        end
      end
    end

    describe "with an IO::Buffer" do
      it "reads into its beginning, and writes all of it" do
        everywhere do |ring|
          file = closing(File.open(file_with("0123456789"), "r+"))
          [4, IO::Buffer::PAGE_SIZE].each do |size|
            buffer = IO::Buffer.new(size)
            expect(ring.read(file, buffer, offset: 6)).to eq(4)
            expect(buffer.get_string(0, 4)).to eq("6789")
            expect(ring.read(file, buffer, offset: 10)).to eq(0)
          end
          expect(ring.write(file, buffer_of("abc"), offset: 0)).to eq(3)
          expect(file.pread(4, 0)).to eq("abc3")
        end
      end

      it "sends and receives" do
        everywhere do |ring|
          receiver, sender = unix_pair
          expect(ring.send(sender, buffer_of("hello"))).to eq(5)
          buffer = IO::Buffer.new(9)
          expect([ring.recv(receiver, buffer), buffer.get_string(0, 5)]).to eq([5, "hello"])
          sender.close
          expect(ring.recv(receiver, buffer)).to eq(0)
        end
      end

      it "uses a slice, a mapped file and the memory of a string" do
        everywhere do |ring|
          file = closing(File.open(file_with("0123456789"), "r+"))
          whole = buffer_of("." * 8)
          expect(ring.read(file, whole.slice(2, 3), offset: 0)).to eq(3)
          expect(whole.get_string).to eq("..012...")
          expect(ring.write(file, whole.slice(1, 3), offset: 7)).to eq(3)
          expect(file.pread(3, 7)).to eq(".01")
          File.open(file.path) do |source|
            mapped = IO::Buffer.map(source, nil, 0, IO::Buffer::READONLY)
            expect(ring.write(file, mapped, offset: 10)).to eq(10)
            mapped.free
          end
          string = "xxxx".b
          IO::Buffer.for(string) { |buffer| expect(ring.read(file, buffer, offset: 0)).to eq(4) }
          expect(string).to eq("0123")
          expect(ring.write(file, IO::Buffer.for("frozen"), offset: 0)).to eq(6)
          expect(IO::Buffer.string(4) { |buffer| ring.read(file, buffer, offset: 0) }).to eq("froz")
        end
      end

      it "keeps the buffer locked until the call has ended, in whatever way" do
        receiver, sender = unix_pair
        everywhere do |ring|
          buffer = IO::Buffer.new(4)
          endings.each do |way|
            ended_by(way) { ring.recv(receiver, buffer) }
            expect([way, buffer.locked?]).to eq([way, false])
          end
          expect(raised { ring.recv(receiver, buffer, timeout: 0.001) }).to be_a(IO::TimeoutError)
          expect(buffer.locked?).to be(false)
          expect(raised { ring.recv(pipe.first, buffer) }).to be_a(Errno::ENOTSOCK)
          expect(buffer.locked?).to be(false)
          sender.write("left")
          expect([ring.recv(receiver, buffer), buffer.get_string]).to eq([4, "left"])
          expect(buffer.locked?).to be(false)
        end
      end

      it "refuses to free or resize the buffer during the call" do
        scheduled do
          with_ring do |ring|
            [4, IO::Buffer::PAGE_SIZE].each do |size|
              receiver, sender = unix_pair
              buffer = IO::Buffer.new(size)
              waiting = Fiber.schedule { ring.recv(receiver, buffer) }
              expect([buffer.locked?, *touched(buffer)]).to eq([true, *locked])
              expect(raised { buffer.locked { nil } }).to be_a(IO::Buffer::LockedError)
              sender.write("done")
              eventually { !waiting.alive? }
              expect(buffer.get_string(0, 4)).to eq("done")
              buffer.free
            end
          end
        end
      end

      it "unlocks the buffer when the last of several calls has ended" do
        scheduled do
          with_ring do |ring|
            pairs = Array.new(2) { unix_pair }
            buffer = IO::Buffer.new(2)
            waiting = pairs.map { |receiver, _| Fiber.schedule { ring.recv(receiver, buffer) } }
            seen = pairs.zip(waiting).map do |(_, sender), fiber|
              sender.write("ab")
              eventually { !fiber.alive? }
              buffer.locked?
            end
            expect(seen).to eq([true, false])
          end
        end
      end

      it "raises when the memory behind a slice was freed during the call" do
        scheduled do
          with_ring do |ring|
            receiver, sender = unix_pair
            whole = IO::Buffer.new(IO::Buffer::PAGE_SIZE * 2)
            part = whole.slice(IO::Buffer::PAGE_SIZE, 4)
            error = nil
            waiting = Fiber.schedule { error = raised { ring.recv(receiver, part) } }
            whole.free
            sender.write("gone")
            eventually { !waiting.alive? }
            expect(error).to be_a(IO::Buffer::InvalidatedError).or be_a(IO::Buffer::AllocationError)
            expect(error.message).not_to be_empty
          end
        end
      end

      it "refuses a read-only, freed or locked buffer" do
        everywhere do |ring|
          file = closing(File.open(file_with("x" * 9), "r+"))
          expect(raised { ring.read(file, IO::Buffer.for("frozen")) }).to be_a(IO::Buffer::AccessError)
          freed = IO::Buffer.new(4).tap(&:free)
          part_of_freed = IO::Buffer.new(8).then { |whole| whole.slice(0, 4).tap { whole.free } }
          [[freed, IO::Buffer::AllocationError], [part_of_freed, IO::Buffer::InvalidatedError]].each do |buffer, error|
            expect(raised { ring.read(file, buffer) }).to be_a(error)
            expect(raised { ring.write(file, buffer) }).to be_a(error)
            expect(raised { ring.writev(file, ["x", buffer]) }).to be_a(error)
          end
          buffer = IO::Buffer.new(4)
          buffer.locked do
            expect(raised { ring.read(file, buffer) }).to be_a(IO::Buffer::LockedError)
            expect(raised { ring.write(file, buffer) }).to be_a(IO::Buffer::LockedError)
          end
          expect(file.pos).to eq(0)
        end
      end

      it "transfers nothing with an empty buffer" do
        everywhere do |ring|
          file = closing(File.open(file_with("x"), "r+"))
          IO::Buffer.for(+"") do |buffer|
            expect([ring.read(file, buffer), ring.write(file, buffer)]).to eq([0, 0])
          end
          part = IO::Buffer.new(4).slice(4, 0)
          expect([ring.read(file, part), ring.write(file, part)]).to eq([0, 0])
        end
      end
    end

    describe "during garbage collections" do
      around do |example|
        stress = GC.stress
        example.run
      ensure
        GC.stress = stress
      end

      it "keeps the strings and buffers of calls in flight alive and in place" do
        scheduled do
          with_ring do |ring|
            results = []
            pairs = Array.new(8) { unix_pair }
            pairs.each_with_index do |(receiver, _), number|
              Fiber.schedule do
                into = number.even? ? 100 : IO::Buffer.new(100)
                read = ring.recv(receiver, into)
                results[number] = into.is_a?(Integer) ? read : into.get_string(0, read)
              end
            end
            GC.start
            GC.compact
            Array.new(1000) { +"fill the holes of the heap, so that what was freed is used" * 3 }
            pairs.each_with_index { |(_, sender), number| sender.write(number.to_s * 50) }
            eventually { results.compact.size == 8 }
            expect(results).to eq(Array.new(8) { |number| number.to_s * 50 })
          end
        end
      end

      it "keeps the data of a waiting write alive" do
        scheduled do
          with_ring do |ring|
            sender, receiver = unix_pair
            filled = fill(sender)
            done = []
            frozen = ->(word) { "".ljust(100, word).freeze }
            Fiber.schedule { done << ring.send(sender, frozen.call("left")) }
            Fiber.schedule { done << ring.writev(sender, [frozen.call("more"), buffer_of("last" * 25)]) }
            GC.start
            GC.compact
            Array.new(1000) { +"fill the holes of the heap, so that what was freed is used" * 3 }
            received = +""
            received << ring.recv(receiver, 1 << 20) until received.bytesize == filled + 300
            rest = received.byteslice(filled..)
            expect(done).to contain_exactly(100, 200)
            expect(rest.scan(/(?:left){25}|(?:more){25}(?:last){25}/).sum(&:size)).to eq(300)
          end
        end
      end

      it "makes calls of all kinds with a collection at every allocation", needs: :direct_descriptors do
        path = file_with("0123456789")
        everywhere do |ring|
          file = closing(File.open(path))
          receiver, sender = unix_pair
          buffers = [IO::Buffer.new(4), IO::Buffer.new(6)]
          without_major_collections = 1
          GC.stress = without_major_collections
          seen = [
            ring.read(file, 10, offset: 0), ring.readv(file, buffers, offset: 0), ring.stat(path).size,
            ring.batch { |calls| 3.times { |at| calls.read(file, 2, offset: at) } },
            ring.chain { |steps| steps.read(steps.open(path), 10) }.last,
            ring.send(sender, "x"), ring.recvmsg(receiver, 9).first
          ]
          GC.stress = false
          expect(seen).to eq(["0123456789", 10, 10, %w[01 12 23], "0123456789", 1, "x"])
        end
      end
    end
  end
end
