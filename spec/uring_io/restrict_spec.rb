# frozen_string_literal: true

RSpec.describe UringIO, "with restrict: true" do
  # Passes the block a Ring, in a fiber of a restricted scheduler.
  def restricted(**, &block)
    scheduled(restrict: true, **) { block.call(UringIO::Ring.new(backend:)) }
  end

  each_backend do |backend|
    it "makes a scheduler and a selector of this backend that work" do
      reader, writer = pipe
      read = scheduled(restrict: true) do |scheduler|
        expect(scheduler.backend).to eq(backend)
        Fiber.schedule { writer.write("hello") }
        [reader.readpartial(9), File.read(__FILE__, 6), Process.wait2(spawn("exit 3")).last.exitstatus]
      end
      expect(read).to eq(["hello", "# froz", 3])
      selector = UringIO::Selector.new(Fiber.current, backend:, restrict: true)
      ready = nil
      Fiber.new { ready = selector.io_wait(Fiber.current, writer, IO::WRITABLE) }.transfer
      selector.select(1)
      expect(ready).to eq(IO::WRITABLE)
      selector.close
    end

    it "is refused by Ring.new" do
      [true, false].each do |restrict|
        expect { UringIO::Ring.new(backend:, restrict:) }.to raise_error(ArgumentError, /restrict:.*Scheduler/)
      end
    end
  end

  each_backend(only: %i[epoll poll select]) do
    it "restricts nothing: a ring makes all its calls" do
      expect(restricted { |ring| ring.stat("/").directory? }).to be(true)
    end
  end

  each_backend(only: %i[io_uring]) do
    it "refuses, in the scheduler's fibers, calls of a ring that the scheduler never makes, and says why" do
      buffer = IO::Buffer.new(4096)
      reader = pipe.first
      refused = {
        stat: ->(ring) { ring.stat("/") }, open: ->(ring) { ring.open(__FILE__) },
        socket: ->(ring) { ring.socket(:INET, :STREAM) }, batch: ->(ring) { ring.batch! { |b| b.nop && b.stat("/") } },
        chain: ->(ring) { ring.chain(&:nop) }, direct: ->(ring) { ring.chain { |c| c.open(__FILE__) } },
        register: ->(ring) { ring.register(buffer) }, close: ->(ring) { ring.close_descriptor(reader.fileno) },
        timeout: ->(ring) { ring.timeout(0.001) }, accept_each: ->(ring) { ring.accept_each(reader) { nil } }
      }
      refused.delete(:socket) if KernelNeeds.missing(:socket)
      refused.each do |name, call|
        error = raised { restricted(&call) }
        expect(error).to be_a(UringIO::UnsupportedError).and(
          have_attributes(message: /not allowed here: with restrict:.*in another thread/)
        ), "#{name}: #{error.inspect}"
      end
      expect(buffer).not_to be_locked
    end

    it "works after a refused call, and lets a ring in another thread make that call" do
      made = restricted do |ring|
        raised { ring.stat("/") }
        sleep(0.001)
        Thread.new { UringIO::Ring.new(backend:).stat("/").directory? }.value
      end
      expect(made).to be(true)
    end

    it "allows calls of a ring that use the scheduler's operations, including streams" do
      here, there = UNIXSocket.pair
      made = restricted do |ring|
        sent = ring.send(there, "one")
        received = ring.batch { |b| b.recv(here, 9) }
        ring.write(there, "two")
        there.close
        [sent, received, ring.recv_each(here).to_a, ring.poll_each(here, IO::READABLE).first]
      end
      expect(made).to eq([3, ["one"], ["two"], IO::READABLE])
      reader, writer = pipe
      writer.write("three")
      writer.close
      expect(restricted { |ring| ring.read_each(reader).to_a }).to eq(["three"])
    end

    it "works with a polling kernel thread, and does not touch a forked child's copy at close" do
      verbose = $VERBOSE
      $VERBOSE = nil # there may be few CPUs
      status = scheduled(restrict: true, sqpoll: true, sqpoll_idle: 0.01) do
        pid = fork { exit!(UringIO.run(backend:, restrict: true) { sleep(0.001) && 7 }) }
        Process.wait2(pid).last
      end
      expect(status.exitstatus).to eq(7)
    ensure
      $VERBOSE = verbose
    end

    it "falls back to epoll when the kernel refuses to restrict a ring, unless the program names io_uring" do
      skip Seccomp.missing if Seccomp.missing

      restrictions = 11 # IORING_REGISTER_RESTRICTIONS
      result = ChildProgram.run(<<~RUBY)
        #{Seccomp.denying_io_uring(Errno::EPERM::Errno, 427..427, operation: restrictions)}
        backends = [{}, { restrict: true }].map do |options|
          [UringIO::Scheduler.new(**options).backend, UringIO::Selector.new(Fiber.current, **options).closed?]
        end
        p backends
        begin
          UringIO::Scheduler.new(backend: :io_uring, restrict: true)
        rescue UringIO::UnsupportedError => error
          puts error.message
        end
      RUBY
      backends, message = result.stdout.lines(chomp: true)
      expect(backends).to eq("[[:io_uring, false], [:epoll, false]]"), result.inspect
      expect(message).to match(/backend io_uring cannot be used: .*denies io_uring_register.*Allow/)
    end

    it "works for every hook, in threads and children", limit: 60 do
      script = "require #{File.expand_path('../support/restricted.rb', __dir__).dump}\n" \
               "load #{File.expand_path('../programs/every_hook.rb', __dir__).dump}"
      result = ChildProgram.run(script, backend, 1, limit: 55) do |program|
        expect([program.gets, program.gets]).to eq(%W[ready\n worked\n])
        Process.kill(:INT, -program.pid)
      end
      expect(result.stderr).to eq("")
      expect(result.stdout.lines.last(2)).to eq(["never called: none\n", "stuck: none\n"])
    end
  end
end
