# frozen_string_literal: true

# None of these programs may crash, hang or lose anything.
RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    def with_ring(**)
      ring = described_class.new(backend:, **)
      yield ring
    ensure
      ring&.close
    end

    it "keeps the steps of a chain while the garbage collector moves objects" do
      result = child(<<~RUBY, backend)
        Fiber.set_scheduler(UringIO::Scheduler.new(backend: ARGV[0].to_sym))
        ring = UringIO::Ring.new(backend: ARGV[0].to_sym)
        pairs = Array.new(100) { UNIXSocket.pair }
        Fiber.schedule { puts ring.chain { |c| pairs.each { |receiver, _| c.recv(receiver, 9) } }.join }
        sleep(0.01)
        3.times { GC.verify_compaction_references(expand_heap: true, toward: :empty) }
        pairs.each { |_, sender| sender.write("x") }
      RUBY
      expect(result).to have_attributes(stdout: "#{'x' * 100}\n", status: be_success)
    end

    it "takes no more bytes of a datagram than the buffer has room for" do
      receiver, sender = UNIXSocket.pair(:DGRAM).each { |socket| closing(socket) }
      with_ring do |ring|
        2.times { sender.send("0123456789" * 100, 0) }
        expect(ring.recv(receiver, 5, Socket::MSG_TRUNC)).to eq("01234")
        expect(ring.recvmsg(receiver, 5, Socket::MSG_TRUNC).first).to eq("01234")
      end
    end

    it "goes on with a stream when more input came while the block waited" do
      received = []
      scheduled do
        with_ring do |ring|
          receiver, sender = unix_pair
          fiber = Fiber.schedule do
            ring.recv_each(receiver) do |bytes|
              received << bytes
              sleep(0.02)
            end
          end
          sender.write("1")
          eventually { received.size == 1 }
          sender.write("2")
          eventually { received.size == 2 }
          sleep(0.05)
          sender.write("3")
          eventually { received.size == 3 }
          sender.close
          eventually { !fiber.alive? }
        end
      end
      expect(received).to eq(%w[1 2 3])
    end

    it "is closed in a child when a signal handler forks in the middle of a call" do
      result = child(<<~RUBY, backend)
        ring = UringIO::Ring.new(backend: ARGV[0].to_sym)
        parent = Process.pid
        calls = {
          recv: ->(io) { ring.recv(io, 9) },
          batch: ->(io) { ring.batch! { |b| b.recv(io, 9) }.first },
          chain: ->(io) { ring.chain { |c| c.recv(io, 9) }.first },
          stream: ->(io) { ring.recv_each(io) { |bytes| break bytes } },
          message: ->(_) { ring.receive(timeout: 0.1) }
        }
        calls.each do |name, call|
          receiver, sender = UNIXSocket.pair
          child = nil
          trap("USR1") { child = fork }
          Thread.new do
            sleep(0.01)
            Process.kill("USR1", parent)
            Thread.pass until child
            Process.wait(child)
            puts "\#{name} \#{$?.exitstatus}"
            sender.write("x")
          end.tap do |thread|
            call[receiver]
            exit!(1) unless Process.pid == parent
          rescue UringIO::ClosedError
            exit!(7)
          rescue IO::TimeoutError
            nil
          ensure
            thread.join
          end
        end
      RUBY
      expect(result.stdout.split("\n")).to eq(["recv 7", "batch 7", "chain 7", "stream 7", "message 7"])
    end

    it "keeps the buffer of a send without a copy locked until the kernel is done, also in batches and chains",
       needs: :send_zc do
      skip "io_uring only" unless backend == :io_uring

      receiver, sender = tcp_pair
      ways = {
        alone: ->(ring, data) { ring.send_zc(sender, data) },
        batch: ->(ring, data) { ring.batch! { |b| b.send_zc(sender, data) }.first },
        chain: ->(ring, data) { ring.chain { |c| c.send_zc(sender, data) }.first }
      }
      with_ring do |ring|
        ways.each_value do |send|
          # The kernel may be done before the check, but not each time.
          were_locked = Array.new(10) do
            buffer = IO::Buffer.new(1 << 16)
            sent = send.call(ring, buffer)
            locked = buffer.locked?
            receiver.read(sent)
            eventually { !ring.nop && !buffer.locked? }
            locked
          end
          expect(were_locked).to include(true)
        end
      end
    end

    it "keeps the buffer of a send without a copy alive until the kernel is done, even if the ring is collected",
       needs: :send_zc do
      skip "io_uring only" unless backend == :io_uring

      result = child(<<~RUBY, backend)
        server = TCPServer.new("127.0.0.1", 0)
        sender = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
        receiver = server.accept
        sent = ObjectSpace::WeakMap.new
        send = lambda do
          ring = UringIO::Ring.new
          buffer = IO::Buffer.new(1 << 16)
          bytes = ring.send_zc(sender, buffer)
          sent[buffer] = true if buffer.locked?
          receiver.read(bytes)
        end
        # Threads take the references on their stacks with them.
        30.times { Thread.new(&send).join }
        dropped = sent.size
        4.times { GC.start }
        puts dropped, sent.size
      RUBY
      dropped, alive = result.stdout.split.map(&:to_i)
      expect(dropped).to be_positive
      expect(alive).to eq(dropped)
    end

    it "goes on after a call that could not start for lack of memory or threads", needs: :recv_each do
      result = child(<<~RUBY, backend)
        ring = UringIO::Ring.new(backend: ARGV[0].to_sym)
        receiver, sender = UNIXSocket.pair
        needy = ring.backend == :io_uring ? -> { ring.recv_each(receiver) { nil } } : -> { ring.stat("/") }
        kilobytes = File.read("/proc/self/status")[/VmSize:\\s+(\\d+)/, 1].to_i + 500
        Process.setrlimit(:AS, kilobytes * 1024, Process::RLIM_INFINITY)
        error = (needy.call rescue $!)
        Process.setrlimit(:AS, Process::RLIM_INFINITY)
        puts error.class
        main = Thread.current
        Thread.new do
          Thread.pass until main.status == "sleep"
          main.raise(IndexError)
        end
        ring.recv(receiver, 1) rescue puts $!.class
        sender.write("x")
        ring.nop
        puts receiver.recv_nonblock(1)
      RUBY
      refused = backend == :io_uring ? "Errno::ENOMEM" : "Errno::EAGAIN"
      expect(result).to have_attributes(stdout: "#{refused}\nIndexError\nx\n", stderr: "")
    end

    it "does not confuse the descriptors of a chain with others when it cancels", needs: :direct_descriptors do
      received = cancelled = nil
      server = tcp_server
      scheduled do
        with_ring do |ring|
          Fiber.schedule { received = ring.chain { |c| c.recv(c.accept(server), 1) }.last }
          client = closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
          let_others_run
          # Direct descriptors have numbers from 0 on.
          cancelled = [0, 1, 2].sum { |number| ring.cancel(number) }
          client.write("x")
          eventually { received }
        end
      end
      expect([received, cancelled]).to eq(["x", 0])
    end

    it "raises NoMemoryError when there is no memory for a copy of a slice" do
      result = child(<<~RUBY, backend)
        require "tempfile"
        ring = UringIO::Ring.new(backend: ARGV[0].to_sym)
        file = Tempfile.new.tap { |sparse| sparse.truncate(1 << 40) }
        slice = IO::Buffer.map(file, 1 << 40).slice(0, 1 << 39)
        null = File.open(File::NULL, "r+")
        kilobytes = File.read("/proc/self/status")[/VmSize:\\s+(\\d+)/, 1].to_i + 100_000
        Process.setrlimit(:AS, kilobytes * 1024, Process::RLIM_INFINITY)
        [-> { ring.read(null, slice) }, -> { ring.write(null, slice) }].each do |call|
          call.call
        rescue NoMemoryError => error
          puts error.class
        end
      RUBY
      expect(result).to have_attributes(stdout: "NoMemoryError\n" * 2, status: be_success)
    end

    it "keeps a buffer locked until all calls that use it have ended" do
      buffer = IO::Buffer.new(64)
      were_locked = []
      scheduled do |scheduler|
        with_ring do |ring|
          pairs = Array.new(3) { unix_pair }
          Fiber.schedule { ring.recv(pairs[0].first, buffer) }
          Fiber.schedule { scheduler.io_read(pairs[1].first, buffer, 1, 0) }
          Fiber.schedule { scheduler.io_read(pairs[2].first, buffer, 1, 0) }
          pairs.each do |_, sender|
            let_others_run
            were_locked << buffer.locked?
            sender.write("x")
          end
          eventually { !buffer.locked? }
        end
      end
      expect(were_locked).to eq([true, true, true])
      buffer.free
    end

    it "passes the memory of a chain's step only within that chain" do
      receiver, sender = unix_pair
      with_ring do |ring|
        read = nil
        sender.write("x")
        ring.chain { |c| read = c.recv(receiver, 1) }
        message = "#{read.inspect} reads no bytes for this chain: give an earlier step that does"
        error = raised { ring.chain { |c| c.send(sender, read) } }
        expect(error).to be_a(ArgumentError).and(have_attributes(message:))
      end
    end

    it "raises an exception of a stream's block, even StopIteration" do
      server = tcp_server
      client = closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
      with_ring do |ring|
        streams = [-> { ring.poll_each(client, IO::WRITABLE) { raise StopIteration } },
                   lambda do
                     ring.accept_each(server) do |descriptor|
                       ring.close_descriptor(descriptor)
                       raise StopIteration
                     end
                   end]
        streams.each { |stream| expect(raised(&stream)).to be_a(StopIteration) }
      end
    end

    it "does not read an IO that a program passes where a Symbol belongs" do
      receiver, = unix_pair
      with_ring { |ring| expect(raised { ring.waitid(receiver) }).to be_a(ArgumentError) }
    end

    it "makes chains while the kernel's polling thread has not yet taken others" do
      skip "io_uring only" unless backend == :io_uring

      result = child(<<~RUBY)
        $VERBOSE = nil
        scheduler = begin
          UringIO::Scheduler.new(sqpoll: true, entries: 8)
        rescue UringIO::UnsupportedError
          puts("none") || exit
        end
        Fiber.set_scheduler(scheduler)
        ring = UringIO::Ring.new
        50.times { Fiber.schedule { 50.times { ring.chain { |c| 8.times { c.nop } } } } }
        Fiber.set_scheduler(nil)
      RUBY
      skip "no thread of the kernel" if result.stdout == "none\n"
      expect(result).to have_attributes(stderr: "", status: be_success)
    end

    describe "when somebody uses a batch, chain or call at a wrong time" do
      let(:call_class) { described_class.const_get(:Call) }
      let(:buffer) { IO::Buffer.new(64) }

      # Expects each of these to raise a plain error, in this fiber and in another thread, and to leave the buffer as it
      # is.
      def expect_refusals(locked, attempts)
        attempts.each do |attempt|
          [raised(&attempt), Thread.new { raised(&attempt) }.value].each do |error|
            expect(error).to be_a(StandardError), "#{attempt.source_location.inspect}: #{error.inspect}"
            expect(error.message).not_to be_empty
          end
          expect(buffer.locked?).to be(locked), attempt.source_location.inspect
        end
      end

      # Runs the block in a fiber that waits for a byte, then yields, then lets the byte come.
      def while_waiting(wait)
        result = nil
        scheduled do
          with_ring do |ring|
            receiver, sender = unix_pair
            fiber = Fiber.schedule { result = wait.call(ring, receiver) }
            yield ring, receiver
            sender.write("x")
            eventually { !fiber.alive? }
          end
        end
        expect([buffer.locked?, buffer.get_string(0, 1)]).to eq([false, "x"])
        result
      end

      it "keeps the memory of a batch until it is over, and takes no more calls" do
        batch = nil
        wait = ->(ring, io) { ring.batch { |calls| (batch = calls).recv(io, buffer) } }
        results = while_waiting(wait) do |ring, io|
          expect_refusals(true, [-> { batch.discard }, -> { ring.__send__(:perform_all, batch) }, -> { batch.dup },
                                 -> { batch.clone }, -> { batch.nop }, -> { batch.recv(io, 1) },
                                 -> { Marshal.dump(batch) }])
        end
        expect(results).to eq([1])
        expect(batch.discard).to be_nil
        with_ring do |ring|
          expect_refusals(false, [-> { batch.recv(unix_pair.first, buffer) }, -> { batch.madvise(buffer, :normal) },
                                  -> { ring.__send__(:perform_all, batch) }])
        end
      end

      it "keeps the memory of a batch while the blocks of its results run" do
        batch = error = nil
        receiver, sender = unix_pair
        sender.send("x", 0)
        results = with_ring do |ring|
          ring.batch do |calls|
            batch = calls
            call = call_class.recv(receiver.fileno, 9, 0)
            calls.__send__(:run, call) { |bytes| bytes.tap { error = raised { batch.discard } } }
            calls.nop
          end
        end
        expect([results, error.class]).to eq([["x", nil], UringIO::Error])
      end

      it "keeps the memory of a chain until it is over, and takes no more steps" do
        chain = nil
        wait = ->(ring, io) { ring.chain { |steps| (chain = steps).recv(io, buffer) } }
        results = while_waiting(wait) do |_, io|
          expect_refusals(true, [-> { chain.nop }, -> { chain.recv(io, 1) }, -> { chain.make { raise IndexError } },
                                 -> { chain.dup }, -> { chain.clone }, -> { Marshal.dump(chain) }])
          expect(raised { chain.make { raise IndexError } }).to be_a(UringIO::Error)
        end
        expect(results).to eq([1])
        expect_refusals(false, [-> { chain.recv(unix_pair.first, buffer) }, -> { chain.make { raise IndexError } }])
      end

      it "takes no steps for a chain whose block has raised" do
        chain = nil
        failing = lambda do |steps|
          (chain = steps).recv(unix_pair.first, buffer)
          raise IndexError
        end
        with_ring { |ring| expect(raised { ring.chain(&failing) }).to be_a(IndexError) }
        expect_refusals(false, [-> { chain.recv(unix_pair.first, buffer) }])
      end

      it "keeps the memory of a chain whose rows somebody takes away" do
        rows = nil
        wait = lambda do |ring, io|
          rows = [[call_class.recv(io.fileno, buffer, 0), [], nil]]
          ring.__send__(:perform_chain, rows, 0, false, nil)
        end
        results = while_waiting(wait) do |ring|
          expect_refusals(true, [-> { ring.__send__(:perform, rows.first.first, nil) },
                                 -> { ring.__send__(:perform_chain, rows, 0, false, nil) }])
          rows.first.clear
          rows.clear
          GC.start
          expect(buffer.locked?).to be(true)
        end
        expect(results).to eq([1, nil, false])
      end

      it "keeps the memory of a call until it is over, and makes it once" do
        call = nil
        wait = lambda do |ring, io|
          call = call_class.recv(io.fileno, buffer, 0)
          ring.__send__(:perform, call, nil)
        end
        result = while_waiting(wait) do |ring|
          batch = described_class::Batch.new
          expect_refusals(true, [-> { ring.__send__(:perform, call, nil) },
                                 -> { ring.__send__(:perform_chain, [[call, [], nil]], 0, false, nil) },
                                 -> { ring.__send__(:stream, call, nil) { nil } },
                                 -> { batch.__send__(:add, call, nil, nil, nil) },
                                 -> { call.dup }, -> { call.clone }, -> { call.class.allocate },
                                 -> { Marshal.dump(call) }])
          ring.__send__(:discard, [call])
          expect(buffer.locked?).to be(true)
        end
        expect(result).to eq(1)
      end

      it "makes streams as streams only, and nothing else as a stream" do
        socket = unix_pair.first
        streams = [-> { call_class.accept_each(socket.fileno) }, -> { call_class.recv_each(socket.fileno, 0) },
                   -> { call_class.read_each(socket.fileno) }, -> { call_class.poll_each(socket.fileno, IO::READABLE) }]
        with_ring do |ring|
          ways = [->(call) { ring.__send__(:perform, call, nil) },
                  ->(call) { ring.__send__(:perform_chain, [[call, [], nil]], 0, false, nil) },
                  ->(call) { ring.batch { |calls| calls.__send__(:add, call, nil, nil, nil) } }]
          streams.product(ways) { |stream, way| expect(raised { way.call(stream.call) }).to be_a(UringIO::Error) }
          other = call_class.read(socket.fileno, buffer, nil)
          expect(raised { ring.__send__(:stream, other, nil) { nil } }).to be_a(UringIO::Error)
          ring.__send__(:discard, [other])
        end
        expect(buffer.locked?).to be(false)
      end

      it "refuses a chain of more descriptors than steps" do
        with_ring do |ring|
          rows = [[call_class.nop, [], nil]]
          error = raised { ring.__send__(:perform_chain, rows, 1 << 50, false, nil) }
          expect(error).to be_a(ArgumentError)
        end
      end

      it "keeps the memory of a batch from a trap handler and from a forked child" do
        result = child(<<~RUBY, backend)
          ring = UringIO::Ring.new(backend: ARGV[0].to_sym)
          receiver, sender = UNIXSocket.pair
          buffer = IO::Buffer.new(64)
          batch = nil
          discard = -> { (batch.discard rescue puts "\#{$!.class} \#{buffer.locked?}") }
          trap("USR1") do
            discard.call
            Process.wait(fork { discard.call; exit!(0) })
            sender.write("x")
          end
          parent = Process.pid
          main = Thread.current
          other = Thread.new do
            Thread.pass until main.status == "sleep"
            Process.kill("USR1", parent)
          end
          p ring.batch { |calls| (batch = calls).recv(receiver, buffer) }
          other.join
          p buffer.locked?
        RUBY
        expect(result).to have_attributes(stdout: "#{"UringIO::Error true\n" * 2}[1]\nfalse\n", stderr: "")
      end
    end
  end
end
