# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#io_write" do
  # TCP connections whose socket buffers hold less than the examples write.
  def small_tcp_pair
    tcp_pair.each { |io| %i[SNDBUF RCVBUF].each { |name| io.setsockopt(:SOCKET, name, 10_000) } }
  end

  each_backend do |_backend|
    it "writes everything, and parks as often as it must" do
      data = pattern(300_000)
      [-> { pipe }, -> { unix_pair }, -> { small_tcp_pair }].each do |pair|
        order = []
        received = +""
        scheduled do |scheduler|
          input, output = pair.call
          Fiber.schedule do
            order << :writes
            order << scheduler.io_write(output, IO::Buffer.for(data), 0, 0)
            output.close
          end
          order << :reads
          received << input.readpartial(65_536) while received.bytesize < data.bytesize
          expect(input.read).to eq("")
        end
        expect(order).to eq([:writes, :reads, data.bytesize])
        expect(received).to eq(data.b)
      end
    end

    it "writes the bytes from the offset on" do
      scheduled do |scheduler|
        reader, writer = pipe
        expect(scheduler.io_write(writer, IO::Buffer.for("abcdef"), 4, 2)).to eq(4)
        expect(reader.readpartial(10)).to eq("cdef")
        expect(scheduler.io_write(writer, IO::Buffer.for("abcdef"), 0, 5)).to eq(1)
        expect(reader.readpartial(10)).to eq("f")
      end
    end

    it "writes at least the length when IO::Buffer#write calls it" do
      scheduled do
        reader, writer = pipe
        count = IO::Buffer.for("abcdef").write(writer, 2, 1)
        expect(count).to be_between(2, 5)
        expect(reader.readpartial(10)).to eq("bcdef"[0, count])
      end
    end

    it "returns 0 when there is nothing to write" do
      scheduled do |scheduler|
        _, writer = pipe
        expect(scheduler.io_write(writer, IO::Buffer.for("abc"), 0, 3)).to eq(0)
      end
    end

    it "raises ArgumentError and writes nothing when length or offset are beyond the buffer, as IO::Buffer does" do
      scheduled do |scheduler|
        reader, writer = pipe
        [[4, 0], [0, 4], [2, 2], [2**63, 1], [0, (2**64) - 1]].each do |length, offset|
          expect { scheduler.io_write(writer, IO::Buffer.for("abc"), length, offset) }
            .to raise_error(ArgumentError, /offset\+length is bigger than the buffer size/)
        end
        writer.close
        expect(reader.read).to eq("")
      end
    end

    it "writes to files at their position, and at their end with O_APPEND" do
      scheduled do |scheduler|
        path = file_with("0123456789")
        File.open(path, "r+") do |file|
          file.sysseek(2)
          expect(scheduler.io_write(file, IO::Buffer.for("ab"), 0, 0)).to eq(2)
          expect(scheduler.io_write(file, IO::Buffer.for("cd"), 0, 0)).to eq(2)
        end
        File.open(path, "a") { |file| expect(scheduler.io_write(file, IO::Buffer.for("!"), 0, 0)).to eq(1) }
        expect(File.read(path)).to eq("01abcd6789!")
      end
    end

    it "returns -EPIPE when nobody reads any longer, and the program goes on" do
      scheduled do |scheduler|
        [pipe, unix_pair].each do |input, output|
          input.close
          expect(scheduler.io_write(output, IO::Buffer.for("x"), 0, 0)).to eq(-Errno::EPIPE::Errno)
          expect { output.syswrite("x") }.to raise_error(Errno::EPIPE)
        end
      end
    end

    it "returns -EPIPE when the reader closes in the middle of a write" do
      scheduled do |scheduler|
        [pipe, unix_pair].each do |input, output|
          result = nil
          Fiber.schedule { result = scheduler.io_write(output, IO::Buffer.for("x" * 1_000_000), 0, 0) }
          input.readpartial(100)
          input.close
          eventually { result }
          expect([-Errno::EPIPE::Errno, -Errno::ECONNRESET::Errno]).to include(result)
        end
      end
    end

    it "returns the negative errno for a descriptor that cannot be written" do
      scheduled do |scheduler|
        reader, = pipe
        data = IO::Buffer.for("x")
        expect(scheduler.io_write(reader, data, 0, 0)).to eq(-Errno::EBADF::Errno)
        full = closing(File.open("/dev/full", "w"))
        expect(scheduler.io_write(full, data, 0, 0)).to eq(-Errno::ENOSPC::Errno)
      end
    end

    it "raises IO::TimeoutError when nobody reads for the IO's timeout, and not earlier" do
      scheduled do |scheduler|
        [pipe, unix_pair].each do |_input, output|
          output.timeout = 0.02
          fill(output)
          start = monotonic
          expect { scheduler.io_write(output, IO::Buffer.for("x"), 0, 0) }.to raise_error(IO::TimeoutError, /writable/)
          expect(monotonic - start).to be >= 0.02
          expect { output.syswrite("x") }.to raise_error(IO::TimeoutError)
        end
      end
    end

    it "does not mix the writes of several fibers to the same IO" do
      received = +""
      scheduled do
        reader, writer = pipe
        writer.sync = true
        writing = 5
        5.times do |index|
          Fiber.schedule do
            writer.write(index.to_s * 50_000)
            writing -= 1
            writer.close if writing.zero?
          end
        end
        received << reader.read
      end
      expect(received.squeeze.chars.sort).to eq(%w[0 1 2 3 4])
      expect(received.bytesize).to eq(250_000)
    end

    it "stops at once when another fiber kills or raises into its fiber, and frees the buffer" do
      [->(fiber) { fiber.kill }, ->(fiber) { fiber.raise(IndexError, "from outside") }].each do |interrupt|
        on_root do |scheduler|
          input, output = unix_pair
          fill(output)
          string = +"data"
          IO::Buffer.for(string) do |buffer|
            fiber = Fiber.schedule do
              scheduler.io_write(output, buffer, 0, 0)
            rescue IndexError
              nil
            end
            interrupt.call(fiber)
            expect(fiber).not_to be_alive
            expect(buffer).not_to be_locked
          end
          string << "changed"
          output.close
          expect(input.read.squeeze).to eq("x")
        end
      end
    end

    it "flushes all bytes of a buffered pipe, also at close" do
      data = pattern(300_000)
      scheduled do
        reader, writer = pipe
        writer.sync = false
        Fiber.schedule do
          data.bytes.each_slice(70) { |slice| writer.write(slice.pack("C*")) }
          writer.close
        end
        expect(reader.read.b).to eq(data.b)
      end
    end

    it "refuses a closed IO, and other objects than IO and IO::Buffer" do
      scheduled do |scheduler|
        _, writer = pipe
        expect { scheduler.io_write(writer, "a string", 0, 0) }.to raise_error(TypeError, /IO::Buffer/)
        expect { scheduler.io_write(Object.new, IO::Buffer.for("x"), 0, 0) }.to raise_error(TypeError)
        expect { scheduler.io_write(writer, IO::Buffer.for("x"), -1, 0) }.to raise_error(RangeError)
        writer.close
        expect { scheduler.io_write(writer, IO::Buffer.for("x"), 0, 0) }.to raise_error(IOError, /closed/)
      end
    end
  end
end
