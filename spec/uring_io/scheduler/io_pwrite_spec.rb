# frozen_string_literal: true

# Before Ruby 4.0 there is no such hook (hooks_spec.rb), and IO#pwrite blocks.
if UringIO::Scheduler.method_defined?(:io_pwrite)
  RSpec.describe UringIO::Scheduler, "#io_pwrite" do
    each_backend do |_backend|
      it "writes at the given position, returns the number of bytes, and leaves the file's own position alone" do
        scheduled do |scheduler|
          file = closing(File.open(file_with("0123456789"), "r+"))
          file.sysseek(1)
          expect(scheduler.io_pwrite(file, IO::Buffer.for("abcd"), 3, 0, 0)).to eq(4)
          expect(file.sysread(9)).to eq("12abcd789")
        end
      end

      it "writes the bytes from the offset on, whatever the length" do
        scheduled do |scheduler|
          file = closing(File.open(free_path, "w+"))
          expect(scheduler.io_pwrite(file, IO::Buffer.for("abcdef"), 2, 1, 4)).to eq(2)
          expect(File.binread(file.path)).to eq("\0\0ef")
          expect(scheduler.io_pwrite(file, IO::Buffer.for("abcdef"), 0, 0, 6)).to eq(0)
        end
      end

      it "writes at several places at once" do
        data = pattern(200_000)
        path = free_path
        scheduled do
          file = closing(File.open(path, "w"))
          20.times { |index| Fiber.schedule { file.pwrite(data[index * 10_000, 10_000], index * 10_000) } }
        end
        expect(File.binread(path)).to eq(data.b)
      end

      it "returns the negative errno for an IO that has no positions or cannot be written" do
        scheduled do |scheduler|
          data = IO::Buffer.for("x")
          expect(scheduler.io_pwrite(pipe.last, data, 0, 0, 0)).to eq(-Errno::ESPIPE::Errno)
          expect(scheduler.io_pwrite(closing(File.open(file_with(""))), data, 0, 0, 0)).to eq(-Errno::EBADF::Errno)
          expect(scheduler.io_pwrite(closing(File.open("/dev/full", "w")), data, 0, 0, 0)).to eq(-Errno::ENOSPC::Errno)
        end
      end

      it "writes nothing for a range beyond the buffer (ArgumentError) or a position beyond any file (-EINVAL)" do
        scheduled do |scheduler|
          file = closing(File.open(file_with("0123"), "r+"))
          [[0, 5, 0], [0, 0, 5], [0, 2, 3]].each do |extent|
            expect { scheduler.io_pwrite(file, IO::Buffer.for("abcd"), *extent) }
              .to raise_error(ArgumentError, /offset\+length is bigger than the buffer size/)
          end
          [2**63, (2**64) - 1].each do |position|
            expect(scheduler.io_pwrite(file, IO::Buffer.for("abcd"), position, 0, 0)).to eq(-Errno::EINVAL::Errno)
          end
          expect(File.read(file.path)).to eq("0123")
        end
      end

      it "refuses negative positions, a closed file and anything but an IO::Buffer" do
        scheduled do |scheduler|
          file = closing(File.open(free_path, "w"))
          expect { scheduler.io_pwrite(file, IO::Buffer.for("x"), -1, 0, 0) }.to raise_error(RangeError)
          expect { scheduler.io_pwrite(file, "string", 0, 0, 0) }.to raise_error(TypeError)
          file.close
          expect { scheduler.io_pwrite(file, IO::Buffer.for("x"), 0, 0, 0) }.to raise_error(IOError)
        end
      end
    end
  end
else
  RSpec.describe IO, "#pwrite" do
    each_backend do |_backend|
      it "runs without a scheduler: Ruby would call the hook without the GVL" do
        schedulers = []
        text = Object.new
        text.define_singleton_method(:to_s) { "abc".tap { schedulers << Fiber.current_scheduler } }
        path = free_path
        written = scheduled do
          schedulers << Fiber.current_scheduler.class
          closing(File.open(path, "w")).pwrite(text, 2)
        end
        expect(written).to eq(3)
        expect(File.binread(path)).to eq("\0\0abc")
        expect(schedulers).to eq([UringIO::Scheduler, nil])
      end
    end
  end
end
