# frozen_string_literal: true

require_relative "nio_helper"

RSpec.describe "The contract of NIO::Selector" do
  after do
    end_background
    selector.close
  end

  each_nio_selector do
    describe "registering" do
      it "returns a monitor of the IO, which stays registered until the program deregisters it" do
        expect(selector).to be_empty
        reader, = pipe
        monitor = selector.register(reader, :r)
        expect([monitor.io, monitor.interests, monitor.selector]).to eq([reader, :r, selector])
        expect([selector.registered?(reader), selector.empty?]).to eq([true, false])
        expect(selector.deregister(reader)).to be(monitor)
        expect([monitor.closed?, selector.registered?(reader), selector.empty?]).to eq([true, false, true])
        expect(selector.deregister(reader)).to be_nil
      end

      it "refuses an IO that is already registered, invalid interests, objects that are no IO, and closed IOs" do
        reader, writer = pipe
        selector.register(reader, :r)
        expect { selector.register(reader, :r) }.to raise_error(ArgumentError, /already registered/)
        expect { selector.register(writer, :x) }.to raise_error(ArgumentError, /invalid event type :x/)
        [nil, "r"].each { |wrong| expect { selector.register(writer, wrong) }.to raise_error(TypeError) }
        expect { selector.register(Object.new, :r) }.to raise_error(TypeError, /into IO/)
        writer.close
        expect { selector.register(writer, :w) }.to raise_error(IOError, "closed stream")
        expect(selector.registered?(writer)).to be(false)
      end

      it "takes an object that converts to an IO, and finds it under that object" do
        reader, writer = pipe
        wrapper = Struct.new(:to_io).new(reader)
        monitor = selector.register(wrapper, :r)
        writer << "x"
        expect(selector.select(1)).to eq([monitor])
        expect(monitor.io).to be(wrapper)
        expect(selector.deregister(wrapper)).to be(monitor)
      end

      it "works again after deregistering" do
        reader, writer = pipe
        2.times do |round|
          monitor = selector.register(reader, :r)
          expect(selector.select(0)).to eq(round.zero? ? nil : [monitor])
          selector.deregister(reader)
          writer << "x"
          expect(selector.select(0)).to be_nil
        end
      end
    end

    describe "#select" do
      it "returns the ready monitors, or yields them to a block and returns their number" do
        quiet = selector.register(pipe.first, :r)
        ready = Array.new(3) do
          reader, writer = pipe
          writer << "x"
          selector.register(reader, :r)
        end
        expect(selector.select(1)).to match_array(ready)
        seen = []
        expect(selector.select(1) { |monitor| (seen << monitor) && false }).to eq(3)
        expect(seen).to match_array(ready)
        expect(ready.map(&:readiness).uniq).to eq([:r])
        expect(quiet.readiness).to be_nil
      end

      it "reports an IO each time while it is ready, and again when it is ready later" do
        monitor, ours, peer = armed
        2.times do
          peer << "x"
          3.times { expect(selector.select(1)).to eq([monitor]) }
          ours.read_nonblock(1)
          expect(selector.select(0)).to be_nil
        end
      end

      it "does not report an IO that is no longer ready" do
        monitor, ours, peer = armed
        peer << "x"
        ours.read_nonblock(1)
        expect(selector.select(0)).to be_nil
        peer << "y"
        expect(selector.select(1)).to eq([monitor])
      end

      it "distinguishes input from room to write" do
        ours, peer = unix_pair
        monitor = selector.register(ours, :rw)
        expect(selector.select(1)).to eq([monitor])
        expect([monitor.readiness, monitor.readable?, monitor.writable?]).to eq([:w, false, true])
        peer << "x"
        selector.select(1)
        expect([monitor.readiness, monitor.readable?, monitor.writable?]).to eq([:rw, true, true])
        fill(ours)
        selector.select(1)
        expect(monitor.readiness).to eq(:r)
      end

      it "reports the end of the input to readers" do
        monitor, _, peer = armed
        peer.close
        2.times { expect(selector.select(1)).to eq([monitor]) }
        expect(monitor).to be_readable
      end

      it "reports to writers that nobody reads any longer" do
        reader, writer = pipe
        fill(writer)
        monitor = selector.register(writer, :w)
        expect(selector.select(0)).to be_nil
        reader.close
        expect(selector.select(1)).to eq([monitor])
        expect(monitor).to be_writable
      end

      it "reports nothing to writers when their peer has only stopped sending" do
        ours, peer = tcp_pair
        fill(ours)
        monitor = selector.register(ours, :w)
        expect(selector.select(0)).to be_nil
        peer.close_write
        expect(processor_time { expect(selector.select(0.2)).to be_nil }).to be < 0.02
        in_background { peer.read_nonblock(1 << 16, exception: false) until monitor.writable? }
        # nio4r may return early with an empty result.
        found = selector.select(1) until found
        expect(found).to eq([monitor])
      end

      it "always reports regular files" do
        monitor = selector.register(closing(File.open(__FILE__)), :r)
        2.times { expect(selector.select(1)).to eq([monitor]) }
      end

      it "returns nil when the timeout has passed, with and without a block, and not earlier" do
        # nio4r counts from its last look at the clock, which may be long ago on a busy machine.
        least = selector.is_a?(UringIO::NIO::Selector) ? 0.02 : 0
        selector.register(pipe.first, :r)
        [0.02, Rational(1, 50)].each do |timeout|
          start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
          expect(selector.select(timeout)).to be_nil
          expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - start).to be >= least
        end
        expect(selector.select(0)).to be_nil
        expect(selector.select(0, &method(:yielding_nothing))).to be_nil
      end

      it "refuses negative or invalid timeouts" do
        expect { selector.select(-1) }.to raise_error(ArgumentError)
        ["1", true].each { |wrong| expect { selector.select(wrong) }.to raise_error(TypeError) }
        expect(selector.select(0)).to be_nil
      end

      it "lets other threads run, and sees their input" do
        monitor, _, peer = armed
        thread = selecting_thread
        peer << "x"
        expect(thread.value).to eq([monitor])
      end

      it "serves many IOs at once" do
        pairs = Array.new(150) { unix_pair }
        monitors = pairs.map { |ours,| selector.register(ours, :r) }
        expect(selector.select(0)).to be_nil
        pairs.each { |_, peer| peer << "x" }
        found = []
        found |= selector.select(1) until found.size == 150
        expect(found).to match_array(monitors)
        pairs.map(&:first).partition.with_index { |_, index| index.even? }.then do |read, left|
          read.each { |ours| ours.read_nonblock(1) }
          left.each { |ours| selector.deregister(ours) }
        end
        expect(selector.select(0)).to be_nil
      end

      it "works in any thread, one after the other" do
        monitor, ours, peer = armed
        peer << "x"
        3.times { expect(in_thread { selector.select(1) }).to eq([monitor]) }
        expect(selector.select(1)).to eq([monitor])
        ours.read_nonblock(1)
        expect(in_thread { selector.select(0) }).to be_nil
      end

      it "can be interrupted by an exception, and works afterwards" do
        monitor, _, peer = armed
        thread = in_background do
          selector.select
        rescue IndexError => error
          error
        end
        until_asleep(thread)
        thread.raise(IndexError)
        expect(thread.value).to be_an(IndexError)
        selecting_thread.kill.join
        peer << "x"
        expect(selector.select(1)).to eq([monitor])
      end

      it "keeps IOs, monitors and their values alive" do
        peer = in_background do
          monitor, _, peer = armed
          monitor.value = "kept".dup
          peer
        end.value
        GC.start
        GC.compact if GC.respond_to?(:compact)
        peer << "x"
        expect(selector.select(1).map(&:value)).to eq(["kept"])
      end
    end

    describe "the block of #select" do
      let!(:pairs) { Array.new(4) { unix_pair } }
      let!(:monitors) { pairs.map { |ours,| selector.register(ours, :r) } }

      before { pairs.each { |_, peer| peer << "x" } }

      it "may deregister the IO and others, which are then not yielded" do
        seen = []
        expect(selector.select(1) do |monitor|
          seen << monitor
          pairs.each { |ours,| selector.deregister(ours) }
        end).to eq(1)
        expect(seen.size).to eq(1)
        expect(selector).to be_empty
      end

      it "may close monitors and IOs" do
        seen = []
        selector.select(1) do |monitor|
          seen << monitor
          monitor.io.read_nonblock(1)
          monitor.close
          monitor.io.close
          expect(monitor).to be_readable
        end
        expect(seen).to match_array(monitors)
        expect(selector.select(0)).to be_nil
      end

      it "may register other IOs, for the next select" do
        reader, writer = pipe
        writer << "x"
        added = nil
        selector.select(1) { added ||= selector.register(reader, :r) }
        expect(selector.select(1)).to match_array([*monitors, added])
      end

      it "may change interests" do
        selector.select(1) { |monitor| monitor.interests = nil }
        expect(selector.select(0)).to be_nil
        monitors.each { |monitor| monitor.interests = :w }
        expect(selector.select(1)).to match_array(monitors)
      end

      it "may break or raise; the next select reports the monitors that were not yielded" do
        expect(monitors).to include(selector.select(1) { |monitor| break monitor if monitor })
        expect { selector.select(1) { |monitor| raise IndexError if monitor } }.to raise_error(IndexError)
        expect(selector.select(1).uniq).to match_array(monitors)
        expect(in_thread { selector.select(1) }).to match_array(monitors)
      end
    end

    describe "#wakeup" do
      it "ends a waiting select" do
        thread = selecting_thread
        expect(selector.wakeup).to be_nil
        expect(thread.value).to eq([])
        thread = selecting_thread(&method(:yielding_nothing))
        selector.wakeup
        expect(thread.value).to eq(0)
      end

      it "before a select ends only that select, however often it was called" do
        3.times { selector.wakeup }
        expect(selector.select).to be_woken
        expect(selector.select(0.02)).to be_nil
      end

      it "does not hide ready IOs" do
        monitor, _, peer = armed
        peer << "x"
        selector.wakeup
        expect(selector.select(1)).to eq([monitor])
      end

      it "is never lost" do
        count = 0
        thread = in_background do
          500.times do
            selector.select
            count += 1
          end
        end
        500.times do |round|
          selector.wakeup
          Thread.pass until count > round
        end
        thread.join
      end

      it "works in a trap handler" do
        usual = trap("USR2") { selector.wakeup }
        thread = selecting_thread
        Process.kill("USR2", Process.pid)
        expect(thread.value).to eq([])
      ensure
        trap("USR2", usual)
      end
    end

    describe "closed IOs" do
      it "are reported once when their descriptor was closed behind Ruby's back: using them raises the error" do
        selector.select(0)
        reader, = pipe
        IO.for_fd(reader.fileno).close
        monitor = selector.register(reader, :r)
        expect([selector.select(0), selector.select(0)]).to eq([[monitor], nil])
        expect(monitor).to be_readable
        expect { reader.read_nonblock(1) }.to raise_error(Errno::EBADF)
      end

      it "are never reported, can be deregistered, and do not disturb a new IO with their number" do
        monitor, ours, = armed
        number = ours.fileno
        ours.close
        expect(selector.select(0.02)).to be_nil
        others = []
        others.concat(unix_pair) until others.any? { |io| io.fileno == number }
        reused = others.find { |io| io.fileno == number }
        other = selector.register(reused, :w)
        2.times { expect(selector.select(1)).to eq([other]) }
        expect(selector.deregister(ours)).to be(monitor)
        expect(selector.select(1)).to eq([other])
        expect(monitor).to be_closed
      end

      it "are watched as the new file after reopen", nio4r: "goes on with the former file, or none" do
        reader, former_writer = pipe
        other, writer = pipe
        monitor = selector.register(reader, :r)
        expect(selector.select(0)).to be_nil
        reader.reopen(other)
        expect { former_writer.syswrite("x") }.to raise_error(Errno::EPIPE)
        expect(selector.select(0.01)).to be_nil
        writer.syswrite("x")
        expect(selector.select(1)).to eq([monitor])
      end

      { "both halves of a socket were closed by themselves" => false,
        "others have their numbers by then" => true }.each do |how, reused|
        it "are never reported when #{how}, while or before they were armed", nio4r: "watches whoever has the number" do
          sockets = Array.new(2) { tcp_pair.first }
          selector.register(sockets.first, :r)
          selector.select(0)
          selector.register(sockets.last, :r)
          numbers = sockets.map(&:fileno)
          sockets.each(&:close_write).each(&:close_read)
          expect(sockets).to all(be_closed)
          others = reused ? unix_pair : []
          others.concat(unix_pair) until !reused || (numbers - others.map(&:fileno)).empty?
          others.each { |io| io << "ready" }
          expect(processor_time { expect(selector.select(0.2)).to be_nil }).to be < 0.02
          sockets.each { |io| expect(selector.deregister(io)).to be_closed }
        end
      end

      { "another thread" => ->(ours) { Thread.new { ours.close }.join }, "the same" => :close.to_proc }
        .each do |who, close|
        it "also close for their peers when #{who} thread closes them" do
          ours, peer = tcp_pair
          selector.register(ours, :r)
          selector.select(0)
          close.call(ours)
          expect(peer.wait_readable(5)).to be(peer)
          expect(peer.read).to eq("")
        end
      end

      it "also close for their peers while select waits for them" do
        ours, peer = tcp_pair
        selector.register(ours, :r)
        thread = selecting_thread
        ours.close
        expect(peer.wait_readable(5)).to be(peer)
        expect(peer.read).to eq("")
        selector.wakeup
        expect(thread.value).to eq([])
        expect(selector.deregister(ours)).to be_closed
      end

      it "also close for their peers once deregistered" do
        [-> { selector.deregister(_1) }, ->(io) { in_thread { selector.deregister(io) } }].each do |deregister|
          ours, peer = tcp_pair
          selector.register(ours, :r)
          selector.select(0)
          deregister.call(ours)
          ours.close
          expect(peer.wait_readable(5)).to be(peer)
          expect(peer.read).to eq("")
        end
      end
    end

    describe "other threads" do
      it "register, deregister and close monitors after the running select has returned" do
        monitor, ours, = armed
        reader, writer = pipe
        writer << "x"
        thread = selecting_thread
        waiting = [in_background { selector.register(reader, :r) }, in_background { monitor.close }]
        waiting.each { |other| until_asleep(other) }
        expect([selector.registered?(reader), selector.registered?(ours), selector.empty?]).to eq([false, true, false])
        selector.wakeup
        expect(thread.value).to eq([])
        added = waiting.map(&:value).first
        expect(selector.select(1)).to eq([added])
        expect(monitor).to be_closed
      end

      it "change interests while select runs" do
        monitor, = armed
        thread = selecting_thread
        expect(monitor.interests = :rw).to eq(:rw)
        selector.wakeup
        thread.join
        expect(selector.select(1)).to eq([monitor])
        expect(monitor).to be_writable
      end
    end

    describe "closing" do
      it "leaves only deregistering possible" do
        monitor, ours, = armed
        other = selector.register(pipe.first, :r)
        2.times { expect(selector.close).to be_nil }
        expect(selector).to be_closed
        [-> { selector.select(0) }, -> { selector.wakeup }, -> { selector.backend },
         -> { selector.register(pipe.first, :r) }].each do |call|
          expect(&call).to raise_error(IOError, "selector is closed")
        end
        expect([selector.registered?(ours), selector.empty?]).to eq([true, false])
        expect(selector.deregister(ours)).to be(monitor)
        other.close
        expect([monitor.closed?, other.closed?, selector.empty?]).to eq([true, true, true])
      end

      it "may happen while other threads are in select", nio4r: "waits until they have returned" do
        threads = Array.new(2) { in_background { selector.select } }
        threads.each { |thread| until_asleep(thread) }
        expect(selector.close).to be_nil
        outcomes = threads.map { |thread| raised { thread.value } || thread.value }
        expect(outcomes.map(&:to_s)).to contain_exactly("[]", "selector is closed")
      end

      it "may happen in the block of #select" do
        _, _, peer = armed
        peer << "x"
        expect(selector.select(1) { selector.close }).to eq(1)
        expect(selector).to be_closed
      end
    end
  end

  each_own_nio_selector do
    it "names its backend" do
      expect(selector.backend).to eq(backend)
    end

    it "serves descriptors above 1023, which only select refuses" do
      soft, = Process.getrlimit(:NOFILE)
      skip "only #{soft} descriptors may be open" if soft < 1200

      reader, writer = pipe
      high = closing(IO.for_fd(reader.fcntl(Fcntl::F_DUPFD, 1024)))
      if backend == :select
        expect { selector.register(high, :r) }.to raise_error(UringIO::UnsupportedError, /0 to 1023.*:epoll/)
        expect(selector).to be_empty
      else
        monitor = selector.register(high, :r)
        writer << "x"
        expect(selector.select(1)).to eq([monitor])
      end
    end

    it "goes on waiting after a signal that is no wakeup" do
      usual = trap("USR2") { nil }
      _, _, peer = armed
      main = Thread.current
      in_background do
        until_asleep(main)
        Process.kill("USR2", Process.pid)
        until_asleep(main)
        peer << "x"
      end
      expect(selector.select.size).to eq(1)
    ensure
      trap("USR2", usual)
    end

    it "raises when a trap handler closes it while it waits" do
      usual = trap("USR2") { raised { selector.close } }
      main = Thread.current
      armed
      in_background do
        until_asleep(main)
        Process.kill("USR2", Process.pid)
      end
      outcome = raised { selector.select }
      expect(outcome).to be_an(IOError)
    ensure
      trap("USR2", usual)
    end

    it "works after an exception from outside, wherever that comes" do
      _, ours, peer = armed
      other, = unix_pair
      interrupted = -1
      raised_at = lambda do |nth, &block|
        returns = 0
        trace = TracePoint.new(:return, :b_return) do |at|
          returns += 1 if at.path.include?("lib/uring_io/nio/")
          raise IndexError if returns == nth
        end
        trace.enable(target_thread: Thread.current) { block.call }
        :completed
      rescue IndexError
        interrupted += 1
      end

      # Finalizers would run between these lines, and get the exception.
      GC.start
      GC.disable
      (2..).each do |number|
        nth = number / 2
        peer << "x"
        through = raised_at.call(nth) do
          selector.select(1)
          selector.register(other, :w)
          selector.deregister(other)
        end
        selector.deregister(other)
        ours.read_nonblock(1) if number.odd?
        expect([nth, selector.select(0)&.map(&:io)]).to eq([nth, number.odd? ? nil : [ours]])
        ours.read_nonblock(1) if number.even?
        expect([nth, selector.select(0)]).to eq([nth, nil])
        break if through == :completed
      end
      expect(interrupted).to be > 10
    ensure
      GC.enable
    end

    it "works in a forked child separately: the child gets none of the parent's wakeups, and does not disturb it" do
      monitor, ours, peer = armed
      reader, writer = pipe
      thread = selecting_thread
      pid = fork do
        selector.wakeup
        woken = selector.select
        peer << "x"
        found = selector.select(5)
        selector.deregister(ours)
        writer << [woken, found == [monitor], selector.select(0)].inspect
        selector.close
        exit!(0)
      end
      Process.wait(pid)
      writer.close
      expect(reader.read).to eq("[[], true, nil]")
      expect(thread.value).to eq([monitor])
      ours.read_nonblock(1)
      expect(selector.select(0)).to be_nil
      peer << "y"
      expect(selector.select(1)).to eq([monitor])
    end

    it "closes its descriptors when a program drops it while armed" do
      open = -> { Dir.children("/proc/self/fd").size }
      forget = lambda do
        20.times { UringIO::NIO::Selector.new(backend:).tap { |own| own.register($stdout, :r) && own.select(0) } }
      end
      before = open.call
      in_thread(&forget)
      5.times { GC.start if open.call > before }
      expect(open.call).to be < before + 10
    end
  end
end
