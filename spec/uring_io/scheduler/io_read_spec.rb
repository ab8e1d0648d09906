# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#io_read" do
  again = -Errno::EAGAIN::Errno

  each_backend do |_backend|
    describe "with length 0, as Ruby calls it" do
      it "returns the available bytes, up to the buffer's size" do
        scheduled do |scheduler|
          buffer = IO::Buffer.new(4)
          [pipe, unix_pair, tcp_pair].each do |input, output|
            output.write("abcdef")
            expect(scheduler.io_read(input, buffer, 0, 0)).to eq(4)
            expect(buffer.get_string).to eq("abcd")
            expect(scheduler.io_read(input, buffer, 0, 0)).to eq(2)
            expect(buffer.get_string).to eq("efcd")
          end
        end
      end

      it "returns 0 at the end of the input, again and again" do
        scheduled do |scheduler|
          buffer = IO::Buffer.new(4)
          file = closing(File.open(file_with("")))
          [*[pipe, unix_pair, tcp_pair].map { |input, output| input.tap { output.close } }, file].each do |input|
            2.times { expect(scheduler.io_read(input, buffer, 0, 0)).to eq(0) }
          end
        end
      end

      it "returns -EAGAIN for an empty pipe, so that read_nonblock does not hang" do
        scheduled do |scheduler|
          reader, writer = pipe
          expect(scheduler.io_read(reader, IO::Buffer.new(4), 0, 0)).to eq(again)
          expect(reader.read_nonblock(4, exception: false)).to eq(:wait_readable)
          expect { reader.read_nonblock(4) }.to raise_error(IO::EAGAINWaitReadable)
          writer.write("x")
          expect(reader.read_nonblock(4)).to eq("x")
        end
      end

      it "waits for an empty pipe in methods that have to wait, sysread among them" do
        { gets: [], getc: [], getbyte: [], readpartial: [9], sysread: [9], eof?: [] }.each do |name, arguments|
          result = nil
          scheduled do
            reader, writer = pipe
            Fiber.schedule { result = reader.public_send(name, *arguments) }
            writer.write("x\n")
          end
          expected = { getc: "x", getbyte: 120, eof?: false }.fetch(name, "x\n")
          expect([name, result]).to eq([name, expected])
        end
      end

      it "tries a pipe once per line, and then lets the ring read it" do
        skip "other backends ask before and after they wait" unless backend == :io_uring
        scheduled do |scheduler|
          reader, writer = pipe
          lines = []
          before = scheduler.stats
          20.times do |round|
            Fiber.schedule { lines << reader.gets }
            writer.write("line\n")
            let_others_run until lines.size > round
          end
          asked = scheduler.stats[:direct_calls] - before[:direct_calls]
          expect(lines.size).to eq(20)
          # Before Linux 6.4 the scheduler must know a pipe's flags before it can write without waiting.
          knows_pipes = (UringIO.support.kernel[:version] <=> [6, 4, 0]) >= 0
          expect(asked).to be <= (knows_pipes ? 60 : 80)
        end
      end

      it "does not wait in ARGF.read_nonblock, IO::Buffer#read and the read_nonblock of a subclass" do
        result = child(<<~RUBY, backend)
          UringIO.run(backend: ARGV.shift.to_sym) do
            reader, writer = IO.pipe # an unused writer would be collected, and the pipe end
            $stdin.reopen(reader)
            own = Class.new(IO) { def read_nonblock(*) = super }.for_fd(reader.fileno, autoclose: false)
            ways = [-> { ARGF.read_nonblock(9) }, -> { own.read_nonblock(9) }]
            p(ways.map do |way|
              way.call
            rescue IO::WaitReadable => error
              error.errno
            end, IO::Buffer.new(9).read(reader, 0))
            writer.close
          end
        RUBY
        errno = Errno::EAGAIN::Errno
        expect(result).to have_attributes(stderr: "", stdout: "[#{errno}, #{errno}]\n-#{errno}\n")
      end

      it "does not wait for a pipe without O_NONBLOCK either" do
        scheduled do |scheduler|
          reader, writer = pipe
          require "io/nonblock"
          reader.nonblock = false
          expect(scheduler.io_read(reader, IO::Buffer.new(4), 0, 0)).to eq(again)
          writer.write("x")
          expect(scheduler.io_read(reader, IO::Buffer.new(4), 0, 0)).to eq(1)
        end
      end

      it "reads a file opened as a plain IO, even when it is not in the page cache and a try would wait" do
        path = file_with("0123456789")
        File.open(path) { |file| file.fsync && file.advise(:dontneed) }
        scheduled do |scheduler|
          input = closing(IO.new(IO.sysopen(path)))
          buffer = IO::Buffer.new(4)
          contents = Array.new(4) { (count = scheduler.io_read(input, buffer, 0, 0)) && buffer.get_string(0, count) }
          expect(contents).to eq(["0123", "4567", "89", ""])
        end
      end

      it "parks on a socket until data comes" do
        order = []
        scheduled do |scheduler|
          input, output = unix_pair
          Fiber.schedule do
            order << :reads
            order << scheduler.io_read(input, IO::Buffer.new(4), 0, 0)
          end
          order << :writes
          output.write("ab")
          eventually { order.size == 3 }
        end
        expect(order).to eq([:reads, :writes, 2])
      end

      it "does not park in read_nonblock and recv_nonblock on a socket" do
        scheduled do
          input, = unix_pair
          expect(input.read_nonblock(1, exception: false)).to eq(:wait_readable)
          expect(input.recv_nonblock(1, exception: false)).to eq(:wait_readable)
        end
      end

      it "advances the position of a file" do
        scheduled do |scheduler|
          file = closing(File.open(file_with("0123456789")))
          buffer = IO::Buffer.new(4)
          contents = Array.new(4) { (count = scheduler.io_read(file, buffer, 0, 0)) && buffer.get_string(0, count) }
          expect(contents).to eq(["0123", "4567", "89", ""])
          file.sysseek(2)
          scheduler.io_read(file, buffer, 0, 0)
          expect(buffer.get_string).to eq("2345")
        end
      end
    end

    describe "with a length" do
      it "waits for at least that many bytes, and takes any that come with them" do
        [-> { pipe }, -> { unix_pair }].each do |pair|
          order = []
          scheduled do |scheduler|
            input, output = pair.call
            buffer = IO::Buffer.new(8)
            Fiber.schedule do
              order << :reads
              order << scheduler.io_read(input, buffer, 5, 0)
              order << buffer.get_string
            end
            %w[ab cd efgh].each do |part|
              order << part
              output.write(part)
              let_others_run
            end
            eventually { order.last.is_a?(String) && order.last.size == 8 }
          end
          expect(order).to eq([:reads, "ab", "cd", "efgh", 8, "abcdefgh"])
        end
      end

      it "returns less at the end of the input" do
        scheduled do |scheduler|
          [pipe, unix_pair].each do |input, output|
            output.write("abc")
            output.close
            expect(scheduler.io_read(input, IO::Buffer.new(8), 5, 0)).to eq(3)
          end
          file = closing(File.open(file_with("abc")))
          expect(scheduler.io_read(file, IO::Buffer.new(8), 5, 0)).to eq(3)
        end
      end

      it "stores the bytes at the offset, within the buffer" do
        scheduled do |scheduler|
          buffer = IO::Buffer.new(8)
          buffer.set_string("........")
          reader, writer = pipe
          writer.write("abcdef")
          expect(scheduler.io_read(reader, buffer, 1, 5)).to eq(3)
          expect(buffer.get_string).to eq(".....abc")
          expect(scheduler.io_read(reader, buffer, 0, 6)).to eq(2)
          expect(buffer.get_string).to eq(".....ade")
        end
      end

      it "returns 0 when the buffer has no room" do
        scheduled do |scheduler|
          reader, = pipe
          expect(scheduler.io_read(reader, IO::Buffer.new(8), 0, 8)).to eq(0)
        end
      end

      it "raises ArgumentError and reads nothing when length or offset are beyond the buffer, as IO::Buffer does" do
        scheduled do |scheduler|
          reader, writer = pipe
          writer.write("abc")
          buffer = IO::Buffer.new(8)
          [[9, 0], [4, 5], [0, 9], [2**63, 0], [0, 2**63], [1, (2**64) - 1]].each do |length, offset|
            expect { scheduler.io_read(reader, buffer, length, offset) }
              .to raise_error(ArgumentError, /offset\+length is bigger than the buffer size/)
          end
          expect(reader.readpartial(8)).to eq("abc")
        end
      end
    end

    it "serves IO::Buffer#read with a program's own length and offset" do
      scheduled do
        reader, writer = pipe
        buffer = IO::Buffer.new(8)
        writer.write("abcdef")
        expect(buffer.read(reader, 2, 1)).to be_between(2, 7)
        expect(buffer.get_string(1, 6)).to eq("abcdef")
      end
    end

    it "returns the same as without a scheduler when IO::Buffer's own methods get a range beyond the buffer" do
      ranges = [[9, 0], [4, 5], [1, 8], [0, 9], [nil, 9], [2**40, 0], [0, 8], [nil, 8]]
      attempts = proc do
        reader, writer = pipe
        reader_at = closing(File.open(file_with("0123456789"), "r+"))
        writer.write("abc")
        ranges.flat_map do |range|
          buffer = IO::Buffer.new(8)
          calls = { read: [reader], write: [writer], pread: [reader_at, 0], pwrite: [reader_at, 0] }
          calls.delete(:pwrite) if RUBY_VERSION < "4.0" # Ruby calls it without the GVL there
          calls.map do |name, arguments|
            buffer.public_send(name, *arguments, *range)
          rescue ArgumentError => error
            error.message
          end
        end
      end
      expect(scheduled(&attempts)).to eq(attempts.call)
    end

    it "keeps a program's own buffer locked until the read has ended, and no longer" do
      scheduled do |scheduler|
        input, output = unix_pair
        buffer = IO::Buffer.new(8)
        reading = Fiber.schedule { scheduler.io_read(input, buffer, 1, 0) }
        expect(buffer).to be_locked
        expect { buffer.free }.to raise_error(IO::Buffer::LockedError)
        expect { buffer.resize(100_000) }.to raise_error(IO::Buffer::LockedError)
        output.write("x")
        eventually { !reading.alive? }
        expect(buffer).not_to be_locked
        expect(buffer.get_string(0, 1)).to eq("x")
      end
    end

    it "raises IO::TimeoutError when the IO's timeout passes, and not earlier" do
      scheduled do |scheduler|
        input, output = unix_pair
        input.timeout = 0.02
        buffer = IO::Buffer.new(8)
        start = monotonic
        expect { scheduler.io_read(input, buffer, 1, 0) }.to raise_error(IO::TimeoutError, /readable/)
        expect(monotonic - start).to be >= 0.02
        expect(buffer).not_to be_locked
        output.write("late")
        expect(buffer.get_string).to eq("\0" * 8)
        expect(input.gets).to be_nil.or eq("late") if output.close
      end
    end

    it "applies the IO's timeout to each wait, not to the whole call" do
      scheduled do
        input, output = unix_pair
        input.timeout = 5
        Fiber.schedule do
          4.times do
            sleep(0.01)
            output.write("ab")
          end
        end
        expect(input.read(8)).to eq("abababab")
      end
    end

    it "raises IO::TimeoutError from gets, read and readpartial on pipes and sockets" do
      scheduled do
        [pipe, unix_pair].each do |input, _output|
          input.timeout = 0.005
          expect { input.gets }.to raise_error(IO::TimeoutError)
          expect { input.read(1) }.to raise_error(IO::TimeoutError)
          expect { input.readpartial(1) }.to raise_error(IO::TimeoutError)
        end
      end
    end

    it "returns the negative errno for a descriptor that cannot be read" do
      scheduled do |scheduler|
        _, writer = pipe
        buffer = IO::Buffer.new(8)
        expect(scheduler.io_read(writer, buffer, 1, 0)).to eq(-Errno::EBADF::Errno)
        expect(scheduler.io_read(writer, buffer, 0, 0)).to eq(-Errno::EBADF::Errno)
        expect(scheduler.io_read(closing(File.open("/")), buffer, 1, 0)).to eq(-Errno::EISDIR::Errno)
        expect(scheduler.io_read(tcp_server, buffer, 0, 0)).to eq(-Errno::ENOTCONN::Errno)
      end
    end

    it "returns -ECONNRESET when the peer has reset the connection" do
      scheduled do |scheduler|
        input, output = tcp_pair
        output.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, [1, 0].pack("ii"))
        result = nil
        Fiber.schedule { result = scheduler.io_read(input, IO::Buffer.new(8), 1, 0) }
        output.close
        eventually { result }
        expect(result).to eq(-Errno::ECONNRESET::Errno)
      end
    end

    it "refuses a closed IO, other objects than IO and IO::Buffer, and a read-only buffer" do
      scheduled do |scheduler|
        reader, = pipe
        buffer = IO::Buffer.new(8)
        expect { scheduler.io_read(reader, "a string", 0, 0) }.to raise_error(TypeError, /IO::Buffer/)
        expect { scheduler.io_read(reader, nil, 0, 0) }.to raise_error(TypeError, /IO::Buffer/)
        expect { scheduler.io_read(:reader, buffer, 0, 0) }.to raise_error(TypeError)
        expect { scheduler.io_read(reader, IO::Buffer.for("constant"), 0, 0) }.to raise_error(IO::Buffer::AccessError)
        expect { scheduler.io_read(reader, buffer, -1, 0) }.to raise_error(RangeError)
        expect { scheduler.io_read(reader, buffer, 0, -1) }.to raise_error(RangeError)
        expect { scheduler.io_read(reader, buffer, "1", 0) }.to raise_error(TypeError)
        expect { scheduler.io_read(reader, buffer, 2**70, 0) }.to raise_error(RangeError)
        reader.close
        expect { scheduler.io_read(reader, buffer, 0, 0) }.to raise_error(IOError, /closed/)
        expect(buffer).not_to be_locked
      end
    end

    it "refuses a freed buffer" do
      scheduled do |scheduler|
        reader, writer = pipe
        writer.write("x")
        buffer = IO::Buffer.new(8)
        buffer.free
        outcome = nil
        error = raised { outcome = scheduler.io_read(reader, buffer, 0, 0) }
        expect(error).to be_a(IO::Buffer::AllocationError).or be_a(IO::Buffer::AccessError).or be_nil
        expect(outcome).to eq(0).or be_nil
      end
    end

    describe "in a fiber that another fiber kills or raises into" do
      { "killed" => ->(fiber) { fiber.kill }, "raised into" => ->(fiber) { fiber.raise(IndexError, "from outside") } }
        .each do |how, interrupt|
        it "ends at once when the fiber is #{how}, and nobody writes to its buffer afterwards" do
          on_root do |scheduler|
            input, output = unix_pair
            buffer = IO::Buffer.new(8)
            seen = []
            fiber = Fiber.schedule do
              scheduler.io_read(input, buffer, 8, 0)
            rescue IndexError => error
              seen << error.message
            ensure
              seen << :ensure
            end
            interrupt.call(fiber)
            expect(fiber).not_to be_alive
            expect(seen).to eq(how == "killed" ? [:ensure] : ["from outside", :ensure])
            expect(buffer).not_to be_locked
            output.write("too late")
            Fiber.schedule { seen << input.readpartial(8) }
            scheduler.run
            expect(seen.last).to eq("too late")
            expect(buffer.get_string).to eq("\0" * 8)
          end
        end
      end

      it "gives control back to the fiber that killed it, or raised into it" do
        order = []
        scheduled do
          [->(fiber) { fiber.kill }, ->(fiber) { fiber.raise(IndexError, "from outside") }].each do |interrupt|
            input, = unix_pair
            fiber = Fiber.schedule do
              input.readpartial(1)
            rescue IndexError
              order << :rescued
            ensure
              order << :ensure
            end
            Fiber.schedule do
              interrupt.call(fiber)
              order << :goes_on
            end
            eventually { order.last == :goes_on }
          end
        end
        expect(order).to eq(%i[ensure goes_on rescued ensure goes_on])
      end

      it "leaves the input for the next reader, for every method that reads" do
        %i[gets read readpartial].product(%i[pipe unix_pair tcp_pair]).each do |method, pair|
          arguments = method == :gets ? [] : [8]
          received = nil
          on_root do |scheduler|
            input, output = public_send(pair)
            Fiber.schedule { input.public_send(method, *arguments) }.kill
            output.write("the next\n")
            Fiber.schedule { received = input.gets }
            scheduler.run
          end
          expect([method, pair, received]).to eq([method, pair, "the next\n"])
        end
      end

      it "may wait again in the ensure block, where the next wakeup kills the fiber again" do
        order = []
        on_root do |scheduler|
          input, = unix_pair
          fiber = Fiber.schedule do
            input.readpartial(1)
          ensure
            begin
              order << :first_ensure
              sleep
            ensure
              order << :second_ensure
            end
          end
          fiber.kill
          order << :killed
          scheduler.unblock(:ensure, fiber)
          scheduler.run
        end
        expect(order).to eq(%i[first_ensure killed second_ensure])
      end
    end

    it "loses no received bytes when another fiber raises into the reading fiber" do
      received = []
      errors = []
      scheduled do
        input, output = unix_pair
        fiber = Fiber.schedule do
          2.times do
            received << input.readpartial(10)
          rescue IndexError => error
            errors << error
          end
        end
        output.write("one")
        fiber.raise(IndexError)
      end
      expect([received, errors.size]).to eq([["one"], 1])
    end

    it "ends a fiber on Fiber#raise even if there is more input for it" do
      reads = 0
      error = nil
      scheduled do
        input, output = unix_pair
        output.write("x" * 10_000)
        fiber = Fiber.schedule do
          loop { input.readpartial(1) && reads += 1 }
        rescue IndexError => error
          reads
        end
        before = reads
        fiber.raise(IndexError)
        expect(reads - before).to be <= 1
      end
      expect(error).to be_a(IndexError)
    end

    it "raises at the end of the fiber an exception that came too late for its last wait" do
      received = nil
      reported = StringIO.new
      scheduled do
        input, output = unix_pair
        stderr = $stderr
        fiber = Fiber.schedule { received = input.readpartial(10) }
        output.write("one")
        $stderr = reported
        fiber.raise(IndexError, "too late")
        $stderr = stderr
      end
      expect(reported.string).to include("too late")
      expect([nil, "one"]).to include(received)
    end

    it "shares the input among several fibers that read the same descriptor" do
      lines = []
      scheduled do
        input, output = unix_pair
        5.times { Fiber.schedule { lines << input.sysread(2) } }
        5.times { |index| output.write("#{index}\n") }
        eventually { lines.join.size == 10 }
      end
      expect(lines.join.delete("\n").chars.sort).to eq(%w[0 1 2 3 4])
    end

    it "does not let a fiber whose input never runs dry starve others" do
      order = []
      scheduled do
        zero = closing(File.open("/dev/zero"))
        stop = false
        Fiber.schedule { zero.sysread(10) until stop }
        Fiber.schedule { order << :timer if sleep(0.001) }
        input, output = unix_pair
        Fiber.schedule { order << input.readpartial(1) }
        output.write("x")
        eventually { order.size == 2 }
        stop = true
      end
      expect(order).to contain_exactly(:timer, "x")
    end

    it "does not let a socket that always has input starve others" do
      order = []
      scheduled do
        input, output = unix_pair
        stop = false
        Fiber.schedule do
          output.write("x" * 10_000) until stop
          output.close
        end
        Fiber.schedule { nil while input.read(100) }
        Fiber.schedule { order << :timer if sleep(0.001) }
        eventually { order.any? }
        stop = true
      end
      expect(order).to eq([:timer])
    end
  end
end
