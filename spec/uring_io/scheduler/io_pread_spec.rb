# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#io_pread" do
  each_backend do |_backend|
    it "reads from the given position and leaves the file's own position alone" do
      scheduled do |scheduler|
        file = closing(File.open(file_with("0123456789")))
        file.sysseek(1)
        buffer = IO::Buffer.new(4)
        expect(scheduler.io_pread(file, buffer, 3, 0, 0)).to eq(4)
        expect(buffer.get_string).to eq("3456")
        expect(file.sysread(2)).to eq("12")
      end
    end

    it "stores the bytes at the offset" do
      scheduled do |scheduler|
        file = closing(File.open(file_with("0123456789")))
        buffer = IO::Buffer.new(6)
        buffer.set_string("......")
        expect(scheduler.io_pread(file, buffer, 7, 2, 4)).to eq(2)
        expect(buffer.get_string).to eq("....78")
      end
    end

    it "returns less near the end of the file, and 0 beyond it" do
      scheduled do |scheduler|
        file = closing(File.open(file_with("0123456789")))
        buffer = IO::Buffer.new(6)
        expect(scheduler.io_pread(file, buffer, 8, 6, 0)).to eq(2)
        expect(scheduler.io_pread(file, buffer, 10, 0, 0)).to eq(0)
        expect(scheduler.io_pread(file, buffer, 1_000_000, 6, 0)).to eq(0)
        expect { file.pread(1, 10) }.to raise_error(EOFError)
      end
    end

    it "reads at several places at once" do
      data = pattern(200_000)
      parts = {}
      scheduled do
        file = closing(File.open(file_with(data)))
        20.times { |index| Fiber.schedule { parts[index] = file.pread(10_000, index * 10_000) } }
      end
      expect(parts.sort.map(&:last).join.b).to eq(data.b)
    end

    it "lets other fibers run while it reads much" do
      data = pattern(100_000)
      order = []
      scheduled do
        file = closing(File.open(file_with(data)))
        Fiber.schedule do
          order << :reads
          order << (file.pread(100_000, 0) == data.b)
        end
        order << :other
      end
      expect(order).to eq([:reads, :other, true])
    end

    it "reads a little at once when the page cache has it" do
      order = []
      scheduled do
        file = closing(File.open(file_with("content")))
        Fiber.schedule { order << file.pread(7, 0) << file.read << file.read }
        order << :other
      end
      expect(order).to eq(["content", "content", "", :other])
    end

    it "reads bytes that are partly in the page cache" do
      data = pattern(40_000)
      scheduled do
        file = closing(File.open(file_with(data), "r+"))
        file.fdatasync
        # Turns readahead off.
        file.advise(:random)
        [[0, 8192], [4096, 20_000]].each do |offset, length|
          file.advise(:dontneed)
          file.pread(length, offset)
          expect(file.pread(40_000, 0) == data.b).to be(true)
          file.advise(:dontneed)
          file.pread(length, offset)
          expect(file.pread(50_000, offset) == data.b.byteslice(offset..)).to be(true)
        end
      end
    end

    it "returns the negative errno for an IO without positions" do
      scheduled do |scheduler|
        reader, = pipe
        socket, = unix_pair
        [reader, socket].each do |io|
          expect(scheduler.io_pread(io, IO::Buffer.new(4), 0, 0, 0)).to eq(-Errno::ESPIPE::Errno)
        end
      end
    end

    it "refuses a range beyond the buffer as IO::Buffer does, and returns -EINVAL for a position beyond any file" do
      scheduled do |scheduler|
        file = closing(File.open(file_with("0123456789")))
        buffer = IO::Buffer.new(4)
        [[0, 5, 0], [0, 0, 5], [0, 2, 3]].each do |extent|
          expect { scheduler.io_pread(file, buffer, *extent) }
            .to raise_error(ArgumentError, /offset\+length is bigger than the buffer size/)
        end
        [2**63, (2**64) - 1].each do |position|
          expect(scheduler.io_pread(file, buffer, position, 0, 0)).to eq(-Errno::EINVAL::Errno)
        end
        expect(buffer.get_string).to eq("\0" * 4)
      end
    end

    it "refuses negative positions, a closed file and anything but an IO::Buffer" do
      scheduled do |scheduler|
        file = closing(File.open(file_with("0123456789")))
        expect { scheduler.io_pread(file, IO::Buffer.new(4), -1, 0, 0) }.to raise_error(RangeError)
        expect { scheduler.io_pread(file, +"string", 0, 0, 0) }.to raise_error(TypeError)
        file.close
        expect { scheduler.io_pread(file, IO::Buffer.new(4), 0, 0, 0) }.to raise_error(IOError)
      end
    end
  end
end
