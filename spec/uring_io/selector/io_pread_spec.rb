# frozen_string_literal: true

RSpec.describe "UringIO::Selector#io_pread and #io_pwrite" do
  invalid = -Errno::EINVAL::Errno

  def pread_into(selector, io, buffer, from, length, offset = 0)
    selector.io_pread(Fiber.current, io, buffer, from, *range(length, offset))
  end

  def pwrite_from(selector, io, buffer, from, length, offset = 0)
    selector.io_pwrite(Fiber.current, io, buffer, from, *range(length, offset))
  end

  each_selector do
    before do
      missing = %i[io_pread io_pwrite].reject { |name| selector_class.method_defined?(name) }
      skip "#{selector_class} has no #{missing.join(' and no ')}" if missing.any?
    end

    it "read from a position of the file, and leave the file's own position alone" do
      selecting do |selector, _|
        file = closing(File.open(file_with("0123456789")))
        file.sysseek(1)
        buffer = IO::Buffer.new(6)
        expect(served(selector) { pread_into(selector, file, buffer, 4, 4, 2) }).to eq(4)
        expect(buffer.get_string).to eq("\0\0004567")
        expect(file.sysread(2)).to eq("12")
      end
    end

    it "write at a position of the file, and leave the file's own position alone" do
      selecting do |selector, _|
        path = file_with("0123456789")
        file = closing(File.open(path, "r+"))
        file.sysseek(1)
        expect(served(selector) { pwrite_from(selector, file, IO::Buffer.for("abcd"), 5, 3, 1) }).to eq(3)
        expect(File.binread(path)).to eq("01234bcd89")
        expect(file.sysread(2)).to eq("12")
      end
    end

    it "return the rest at the end of the file, and 0 beyond it" do
      selecting do |selector, _|
        file = closing(File.open(file_with("0123456789")))
        buffer = IO::Buffer.new(8)
        results = [8, 10, 1_000].map { |from| served(selector) { pread_into(selector, file, buffer, from, 8) } }
        expect(results).to eq([2, 0, 0])
        expect(buffer.get_string(0, 2)).to eq("89")
      end
    end

    it "extend the file with a hole" do
      selecting do |selector, _|
        path = file_with("ab")
        file = closing(File.open(path, "r+"))
        served(selector) { pwrite_from(selector, file, IO::Buffer.for("end"), 4, 3) }
        expect(File.binread(path)).to eq("ab\0\0end")
      end
    end

    it "return the negative errno for an IO without positions or in the wrong mode" do
      selecting do |selector, _|
        reader, writer = pipe
        writer.syswrite("x")
        buffer = IO::Buffer.new(4)
        expect(served(selector) { pread_into(selector, reader, buffer, 0, 4) }).to eq(-Errno::ESPIPE::Errno)
        expect(served(selector) { pwrite_from(selector, writer, buffer, 0, 4) }).to eq(-Errno::ESPIPE::Errno)
        file = closing(File.open(file_with("x")))
        expect(served(selector) { pwrite_from(selector, file, buffer, 0, 4) }).to eq(-Errno::EBADF::Errno)
      end
    end

    it "return -EINVAL for an offset beyond the buffer" do
      selecting do |selector, _|
        file = closing(File.open(file_with("0123456789"), "r+"))
        buffer = IO::Buffer.new(4)
        expect(served(selector) { pread_into(selector, file, buffer, 0, 0, 5) }).to eq(invalid)
        expect(served(selector) { pwrite_from(selector, file, buffer, 0, 0, 5) }).to eq(invalid)
        expect(served(selector) { pread_into(selector, file, buffer, 0, 0, 4) }).to eq(0)
      end
    end

    unless Contract::OFFSET_FIRST
      it "transfer as much as fits when the length exceeds the buffer" do
        selecting do |selector, _|
          path = file_with("0123456789")
          file = closing(File.open(path, "r+"))
          buffer = IO::Buffer.new(4)
          results = [[4, 2], [9, 0], [1, 4]].map do |range|
            served(selector) { pread_into(selector, file, buffer, 5, *range) }
          end
          expect([results, buffer.get_string]).to eq([[2, 4, 0], "5678"])
          results = [[4, 2], [1, 4]].map { |range| served(selector) { pwrite_from(selector, file, buffer, 0, *range) } }
          expect([results, File.binread(path)]).to eq([[2, 0], "7823456789"])
        end
      end
    end

    it "need six arguments" do
      selecting do |selector, _|
        file = closing(File.open(file_with("0123456789"), "r+"))
        %i[io_pread io_pwrite].each do |name|
          task = started { selector.public_send(name, Fiber.current, file, IO::Buffer.new(4), 0, 4) }
          expect(task.error).to be_an(ArgumentError)
        end
      end
    end

    it "transfer megabytes, for several fibers at once" do
      selecting do |selector, _|
        content = pattern(3_000_000)
        file = closing(File.open(free_path, "w+"))
        write = started { pwrite_from(selector, file, IO::Buffer.for(content), 0, content.bytesize) }
        expect(finished(selector, write)).to eq(content.bytesize)
        buffers = Array.new(3) { IO::Buffer.new(1_000_000) }
        tasks = buffers.each_with_index.map do |buffer, index|
          started { pread_into(selector, file, buffer, index * 1_000_000, 1_000_000) }
        end
        run_until(selector) { tasks.all?(&:done?) }
        expect(tasks.map(&:value)).to all(eq(1_000_000))
        expect(buffers.map(&:get_string).join == content).to be(true)
      end
    end

    it "raise for a closed IO" do
      selecting do |selector, _|
        file = File.open(file_with("0123456789"), "r+").tap(&:close)
        expect(started { pread_into(selector, file, IO::Buffer.new(4), 0, 4) }.error).to be_a(IOError)
        expect(started { pwrite_from(selector, file, IO::Buffer.new(4), 0, 4) }.error).to be_a(IOError)
      end
    end
  end
end
