# frozen_string_literal: true

# Resources that may run short: descriptors, queue entries, completion slots.
RSpec.describe UringIO::Scheduler, "short of something" do
  each_backend do |backend|
    it "completes 1,000 concurrent operations on a ring of one entry" do
      received = Array.new(500)
      scheduled(entries: 1) do
        pairs = Array.new(backend == :select ? 200 : 500) { UNIXSocket.pair }
        received = received.first(pairs.size)
        pairs.each_with_index do |(input, _), index|
          Fiber.schedule { received[index] = input.readpartial(10) }
          Fiber.schedule { input.wait_writable }
        end
        pairs.map(&:last).each_with_index { |output, index| Fiber.schedule { output.write(index.to_s) } }
        eventually { received.none?(&:nil?) }
        pairs.flatten.each(&:close)
      end
      expect(received).to eq(Array.new(received.size, &:to_s))
    end

    it "loses no completion when many more arrive at once than the completion queue holds" do
      woken = 0
      scheduled(entries: 1) do
        reader, writer = pipe
        2_000.times { Fiber.schedule { woken += 1 if reader.wait_readable } }
        expect(woken).to eq(0)
        writer.write("x")
        eventually { woken == 2_000 }
      end
      expect(woken).to eq(2_000)
    end

    it "cancels operations although the submission queue is full" do
      errors = []
      scheduled(entries: 1) do
        pairs = Array.new(100) { unix_pair }
        pairs.each { |input, _| Fiber.schedule { errors << raised { Timeout.timeout(0.01) { input.readpartial(1) } } } }
        eventually { errors.size == 100 }
        pairs.each { |_, output| output.write("x") }
        expect(pairs.map { |input, _| input.readpartial(1) }).to all(eq("x"))
      end
      expect(errors).to all(be_a(Timeout::Error))
    end

    it "raises EMFILE in the fiber that accepts without a free descriptor, and the other fibers go on" do
      result = child(<<~RUBY, backend)
        require "socket"
        Process.setrlimit(:NOFILE, 64)
        UringIO.run(backend: ARGV[0].to_sym) do
          server = TCPServer.new("127.0.0.1", 0)
          order = []
          failed = Thread::Queue.new
          reader, writer = IO.pipe
          Fiber.schedule { order << reader.gets }
          client = Socket.new(:INET, :STREAM)
          Fiber.schedule do
            server.accept
          rescue Errno::EMFILE => error
            order << error.class
            failed << true
          end
          hoard = []
          begin
            loop { hoard << File.open(File::NULL) }
          rescue Errno::EMFILE
            client.connect(server.local_address)
          end
          failed.pop
          hoard.each(&:close)
          order << server.accept.class
          writer.puts "goes on"
          sleep(0.001) until order.size == 3
          p order
        end
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("[Errno::EMFILE, TCPSocket, \"goes on\\n\"]\n")
    end

    # Uses a filter: a lower fs.file-max would leave every ordinary user of the machine without files.
    it "raises ENFILE in the fiber that accepts when the machine has no file left, and the other fibers go on" do
      skip Seccomp.missing if Seccomp.missing

      result = child(<<~RUBY, backend)
        require "socket"
        open = -> { Dir.children("/proc/self/fd").size }
        UringIO.run(backend: ARGV[0].to_sym) do
          server = TCPServer.new("127.0.0.1", 0)
          spared = server.dup
          #{Seccomp.denying_accept(Errno::ENFILE::Errno, 'server.fileno')}
          reader, writer = IO.pipe
          order = []
          Fiber.schedule { order << reader.gets }
          client = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
          ring = UringIO::Ring.new(backend: ARGV[0].to_sym)
          before = open.call
          # io_uring accepts without accept4(2), which the filter denies.
          ways = [-> { server.accept }, -> { server.accept_nonblock }]
          ways << -> { ring.accept(server) } unless ARGV[0] == "io_uring"
          ways.each do |way|
            failed = Thread::Queue.new
            Fiber.schedule do
              way.call
            rescue SystemCallError => error
              failed << error.class
            end
            order << failed.pop
          end
          order << (open.call - before)
          peer = spared.accept
          client.puts("accepted")
          order << peer.gets
          writer.puts("goes on")
          sleep(0.001) until order.size == ways.size + 3
          p order.uniq
        end
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("[Errno::ENFILE, 0, \"accepted\\n\", \"goes on\\n\"]\n")
    end

    it "lets other threads run while close waits for a fiber's poll and the kernel takes no submissions" do
      skip "io_uring only" unless backend == :io_uring
      skip Seccomp.missing if Seccomp.missing

      result = child(<<~RUBY, backend)
        UringIO.run(backend: ARGV[0].to_sym) do
          begun = Thread::Queue.new
          Thread.new do
            begun.pop
            $stdout.write("another thread runs")
            $stdout.flush
            exit!(0)
          end
          reader, writer = IO.pipe
          #{Seccomp.denying_io_uring(Errno::EAGAIN::Errno, 426..426)}
          Fiber.schedule { reader.wait_readable }
          begun << true
          reader.close
          $stdout.write("closed, ")
        end
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("another thread runs")
    end

    it "raises EMFILE or UnsupportedError when not even the scheduler gets a descriptor" do
      result = child(<<~RUBY, backend)
        Process.setrlimit(:NOFILE, 32)
        hoard = []
        begin
          loop { hoard << File.open(File::NULL) }
        rescue Errno::EMFILE
          begin
            UringIO::Scheduler.new(backend: ARGV[0].to_sym)
          rescue UringIO::UnsupportedError, Errno::EMFILE => error
            refused = error.class
          end
        end
        hoard.each(&:close)
        UringIO.run(backend: ARGV[0].to_sym) { puts "works" }
        puts refused ? "refused" : "not refused"
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("works\nrefused\n")
    end

    it "serves descriptors above 1023, which only select refuses" do
      soft, = Process.getrlimit(:NOFILE)
      skip "only #{soft} descriptors may be open" if soft < 1200

      scheduled do |scheduler|
        hoard = Array.new(1100) { closing(File.open(File::NULL)) }
        input, output = unix_pair
        expect(input.fileno).to be > 1023
        output.write("x")
        low = hoard.first
        attempts = [-> { input.wait_readable }, -> { input.readpartial(1) }]
        if backend == :select
          errors = [raised { scheduler.io_wait(input, IO::READABLE, nil) }] + attempts.first(1).map { |it| raised(&it) }
          expect(errors).to all(be_a(UringIO::UnsupportedError).and(have_attributes(message: /1023.*:epoll/m)))
          expect(scheduler.io_wait(low, IO::READABLE, nil)).to eq(IO::READABLE)
        else
          expect(attempts.map(&:call)).to eq([input, "x"])
        end
      end
    end
  end
end
