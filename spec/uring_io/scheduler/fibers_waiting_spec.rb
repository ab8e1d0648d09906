# frozen_string_literal: true

require "timeout"

RSpec.describe UringIO::Scheduler, "#fibers_waiting" do
  # The wait of this fiber.
  def wait_of(scheduler, fiber) = scheduler.fibers_waiting.find { |wait| wait.fiber.equal?(fiber) }

  # The wait of a new fiber that runs the block. +ending+ ends that wait afterwards.
  def wait_in(scheduler, ending, &)
    fiber = Fiber.schedule(&)
    wait_of(scheduler, fiber)
  ensure
    ending.call(fiber)
  end

  each_backend do |backend|
    it "names the hook and the pipe of a fiber that reads" do
      reader, writer = pipe
      wait = scheduled { |scheduler| wait_in(scheduler, ->(_) { writer.close }) { reader.read(1) } }
      expect([wait.hook, wait.descriptors, wait.blocker, wait.seconds_left, wait.ready?])
        .to eq([:io_read, { reader.fileno => "pipe" }, nil, nil, false])
      expect(wait.to_s).to match(/\A#<Fiber:0x\h+> waits in io_read on #{reader.fileno} \(pipe\)/)
    end

    it "names the peer of a socket, and the place in the program where the fiber waits" do
      server = closing(TCPServer.new("127.0.0.1", 0))
      client = closing(server.local_address.connect)
      peer = closing(server.accept)
      wait = scheduled do |scheduler|
        wait_in(scheduler, ->(_) { peer.close }) { client.wait_readable }
      end
      expect([wait.hook, wait.descriptors])
        .to eq([:io_wait, { client.fileno => "socket #{server.local_address.inspect_sockaddr}" }])
      expect(wait.backtrace).to include(a_string_starting_with("#{__FILE__}:#{__LINE__ - 4}:in "))
    end

    it "names the address of a server that waits for clients" do
      server = closing(TCPServer.new("127.0.0.1", 0))
      wait = scheduled do |scheduler|
        wait_in(scheduler, ->(_) { server.local_address.connect.close }) { server.accept.close }
      end
      expect(wait.descriptors).to eq(server.fileno => "socket #{server.local_address.inspect_sockaddr}")
    end

    it "names the lock, queue or thread that a fiber waits for" do
      queue = Queue.new
      mutex = Mutex.new
      waits = scheduled do |scheduler|
        popping = wait_in(scheduler, ->(_) { queue << 1 }) { queue.pop }
        locking = mutex.synchronize { wait_of(scheduler, Fiber.schedule { mutex.synchronize { nil } }) }
        thread = Thread.new { queue.pop }
        [popping, locking, wait_in(scheduler, ->(_) { queue << 1 }) { thread.join }]
      end
      expect(waits.map(&:hook)).to eq(%i[block block block])
      expect(waits.map(&:blocker)).to match([queue, mutex, an_instance_of(Thread)])
    end

    it "gives the seconds until a wait ends by its own timeout or by a surrounding Timeout" do
      waits = scheduled do |scheduler|
        ending = lambda(&:kill)
        [wait_in(scheduler, ending) { sleep(100) }, wait_in(scheduler, ending) { Timeout.timeout(50) { sleep } },
         wait_in(scheduler, ending) { sleep }]
      end
      expect(waits.map(&:hook)).to eq(%i[kernel_sleep kernel_sleep kernel_sleep])
      expect(waits.map(&:seconds_left)).to match([be_within(5).of(95), be_within(5).of(45), nil])
    end

    it "lists the longest waits first, with their durations" do
      waits = scheduled do |scheduler|
        first = Fiber.schedule { sleep }
        # On a slow machine the time may be over before the thread waits for it.
        sleep(0.02) until scheduler.stats[:waiting_seconds].positive?
        later = Fiber.schedule { sleep }
        found = scheduler.fibers_waiting
        [first, later].each(&:kill)
        expect(found.map(&:fiber)).to eq([first, later])
        found
      end
      expect(waits.last.seconds).to be_between(0, 0.5)
      expect(waits.first.seconds).to be_nil.or be > waits.last.seconds
    end

    it "lists the IOs of an IO.select and the calls of a batch" do
      reader, writer = pipe
      other, = pipe
      selecting, batch = scheduled do |scheduler|
        ending = ->(_) { writer.syswrite("x") }
        ring = UringIO::Ring.new(backend:)
        [wait_in(scheduler, ending) { IO.select([reader, other]) },
         wait_in(scheduler, ->(_) { writer.syswrite("x") }) do
           ring.batch { |batch| batch.timeout(0.05) && batch.poll(reader, IO::READABLE) }
         end]
      end
      expect([selecting.hook, selecting.descriptors.keys]).to eq([:io_select, [reader.fileno, other.fileno]])
      expect(batch.calls.size).to be >= 1
    end

    it "describes a fiber that may go on as waiting for its turn" do
      queue = Queue.new
      wait = scheduled do |scheduler|
        fiber = Fiber.schedule { queue.pop }
        queue << 1
        wait_of(scheduler, fiber)
      end
      expect([wait.ready?, wait.to_s]).to match([true, / is ready and waits for its turn, after block on /])
    end

    it "is empty before the first use and after the end" do
      scheduler = new_scheduler
      before = scheduler.fibers_waiting
      in_thread do
        Fiber.set_scheduler(scheduler)
        Fiber.schedule { sleep(0) }
      end
      expect([before, scheduler.fibers_waiting]).to eq([[], []])
    end

    it "leaves out the calling fiber and the one that runs the scheduler, but not a fiber that has started another" do
      waits = scheduled do |scheduler|
        starting = scheduler.fibers_waiting
        sleep(0)
        [starting, scheduler.fibers_waiting]
      end
      expect(waits.map(&:size)).to eq([1, 0])
      expect([waits[0][0].hook, waits[0][0].ready?]).to eq([:fiber, true])
    end

    it "answers other threads while a fiber computes" do
      waits = scheduled do |scheduler|
        fiber = Fiber.schedule { sleep }
        found = nil
        asking = Thread.new { found = scheduler.fibers_waiting }
        nil until found
        asking.join
        fiber.kill
        found
      end
      expect(waits.map(&:hook)).to match_array(%i[fiber kernel_sleep])
    end

    it "answers other threads while all fibers wait" do
      scheduler = new_scheduler
      queue = Queue.new
      thread = Thread.new do
        Fiber.set_scheduler(scheduler)
        Fiber.schedule { queue.pop }
      end
      eventually { scheduler.fibers_waiting.any? && thread.stop? }
      expect(scheduler.fibers_waiting.map(&:blocker)).to eq([queue])
      queue << 1
      thread.join
    end

    it "is empty in a forked child" do
      result = child(<<~RUBY)
        UringIO.run(backend: :#{backend}) do |scheduler|
          fiber = Fiber.schedule { sleep }
          Process.wait(fork { exit!(scheduler.fibers_waiting.size) })
          # If the child ended at once, the fiber that has started this one still waits for its turn.
          puts $?.exitstatus, scheduler.fibers_waiting.count { |wait| wait.fiber == fiber }
          fiber.kill
        end
      RUBY
      expect([result.stderr, result.stdout]).to eq(["", "0\n1\n"])
    end

    it "keeps no fiber alive, and survives a collection" do
      waits = scheduled do |scheduler|
        fibers = Array.new(20) { Fiber.schedule { sleep } }
        GC.start
        found = scheduler.fibers_waiting.reject(&:ready?)
        fibers.each(&:kill)
        found
      end
      GC.start
      expect(waits.map(&:to_s)).to all(include("waits in kernel_sleep"))
    end
  end
end
