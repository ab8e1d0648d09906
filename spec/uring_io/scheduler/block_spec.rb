# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#block and #unblock" do
  each_backend do |backend|
    it "returns from block when another fiber unblocks it" do
      order = []
      scheduled do |scheduler|
        waiter = Fiber.schedule do
          order << :blocks
          order << scheduler.block(:label, nil)
        end
        order << :unblocks
        scheduler.unblock(:another_label, waiter)
        order << :caller_goes_on
      end
      expect(order).to eq([:blocks, :unblocks, :caller_goes_on, true])
    end

    it "returns false from block when the timeout passes, and not earlier" do
      scheduled do |scheduler|
        start = monotonic
        expect(scheduler.block(:label, 0.02)).to be(false)
        expect(monotonic - start).to be >= 0.02
      end
    end

    it "returns false for a timeout of zero" do
      scheduled { |scheduler| expect(scheduler.block(:label, 0)).to be(false) }
    end

    it "unblocks from another thread while the scheduler's thread waits in the kernel" do
      scheduled do |scheduler|
        fiber = Fiber.current
        thread = Thread.new do
          sleep(0.001) until fiber.backtrace.to_s.include?("block")
          scheduler.unblock(:label, fiber)
        end
        expect(scheduler.block(:label, nil)).to be(true)
        thread.join
      end
    end

    it "loses none of thousands of wakeups from several threads" do
      taken = []
      scheduled do
        queue = Thread::Queue.new
        threads = Array.new(4) { |number| Thread.new { 500.times { |index| queue << [number, index] } } }
        2_000.times { taken << queue.pop }
        threads.each(&:join)
      end
      expect(taken.sort).to eq(4.times.to_a.product(500.times.to_a))
      expect(taken.group_by(&:first).values).to all(satisfy("come in order") { |own| own == own.sort })
    end

    it "wakes a queue that a trap handler pushes to" do
      result = child(<<~RUBY, backend) do |program|
        UringIO.run(backend: ARGV[0].to_sym) do
          queue = Thread::Queue.new
          trap("USR1") { queue << :signalled }
          Fiber.schedule { puts "waiting" }
          puts queue.pop
        end
      RUBY
        program.gets
        program.signal(:USR1)
      end
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("signalled\n")
      expect(result.status).to be_success
    end

    it "wakes a fiber once for several unblocks, and keeps none for its next park" do
      scheduled do |scheduler|
        results = []
        waiter = Fiber.schedule do
          results << scheduler.block(:first, nil)
          results << scheduler.block(:second, 0.01)
        end
        3.times { scheduler.unblock(:first, waiter) }
        let_others_run
        expect(results).to eq([true])
        sleep(0.05)
        expect(results).to eq([true, false])
      end
    end

    it "ignores an unblock for a fiber that waits for IO" do
      scheduled do |scheduler|
        reader, writer = pipe
        result = nil
        waiter = Fiber.schedule { result = scheduler.io_wait(reader, IO::READABLE, nil) }
        scheduler.unblock(:label, waiter)
        let_others_run
        expect(result).to be_nil
        writer.write("x")
        eventually { result }
        expect(result).to eq(IO::READABLE)
      end
    end

    it "ignores an unblock for a fiber that has ended or was never scheduled" do
      scheduled do |scheduler|
        ended = Fiber.schedule { :ends }
        scheduler.unblock(:label, ended)
        scheduler.unblock(:label, Fiber.new { :never })
        expect(scheduler.block(:label, 0.01)).to be(false)
      end
    end

    describe "when unblock comes before block" do
      it "returns from block at once, and only once, when the fiber itself or another thread called unblock" do
        scheduled do |scheduler|
          scheduler.unblock(:label, Fiber.current)
          expect(scheduler.block(:label, nil)).to be(true)
          expect(scheduler.block(:label, 0.01)).to be(false)
          fiber = Fiber.current
          thread = Thread.new { 3.times { scheduler.unblock(:label, fiber) } }
          Fiber.blocking { thread.join }
          expect(scheduler.block(:label, 5)).to be(true)
          expect(scheduler.block(:label, 0.01)).to be(false)
        end
      end

      it "ends no other wait: for another object, for IO, for a thread, or a sleep" do
        scheduled do |scheduler|
          scheduler.unblock(:label, Fiber.current)
          expect(scheduler.block(:other, 0.01)).to be(false)
          start = monotonic
          sleep(0.02)
          expect(monotonic - start).to be >= 0.02
          expect(pipe.first.wait_readable(0.01)).to be_nil
          gate = Thread::Queue.new
          thread = Thread.new { gate.pop }
          expect(thread.join(0.01)).to be_nil
          expect(Thread::Queue.new.pop(timeout: 0.01)).to be_nil
          mutex = Thread::Mutex.new
          expect(mutex.synchronize { mutex.sleep(0.01) } || 1).to be <= 1
          Fiber.schedule { gate << :end if sleep(0.01) }
          expect(thread.value).to eq(:end)
          # The fiber waits in between.
          expect(scheduler.block(:label, nil)).to be(true)
        end
      end

      it "wakes fibers that wait for a Mutex, a Queue or a thread when a subclass lets others run before it blocks" do
        # Lets other fibers run first, so that block comes after their unblock.
        late = Class.new(UringIO::Scheduler) do
          def block(...)
            3.times { self.yield }
            super
          end
        end
        order = []
        scheduled_by(-> { late.new(backend:) }) do
          mutex = Thread::Mutex.new
          queue = Thread::Queue.new
          mutex.lock
          Fiber.schedule { mutex.synchronize { order << :mutex } }
          Fiber.schedule { order << queue.pop }
          self_made = Thread.new { nil }
          Fiber.schedule { order << :thread if self_made.join }
          mutex.unlock
          queue << :queue
          eventually { order.size == 3 }
        end
        expect(order).to contain_exactly(:mutex, :queue, :thread)
      end

      it "ends a Thread#join when the thread ends before a subclass calls block" do
        late = Class.new(UringIO::Scheduler) do
          attr_accessor :joined, :gate

          def block(blocker, timeout = nil)
            if blocker.equal?(joined)
              gate << :end
              Thread.pass until @unblocked
            end
            super
          end

          def unblock(...)
            super
            @unblocked = true
          end
        end
        scheduled_by(-> { late.new(backend:) }) do |scheduler|
          gate = Thread::Queue.new
          thread = Thread.new { gate.pop }
          scheduler.joined = thread
          scheduler.gate = gate
          Thread.pass until thread.stop?
          expect(thread.join).to be(thread)
          expect(thread.join(1)).to be(thread)
        end
      end

      it "wakes ConditionVariable#wait when a subclass does something before it sleeps" do
        late = Class.new(UringIO::Scheduler) do
          def kernel_sleep(duration = nil)
            Fiber.blocking { sleep(0.001) }
            duration ? super : block(:sleep, nil)
            true
          end
        end
        mutex = Thread::Mutex.new
        condition = Thread::ConditionVariable.new
        woken = 0
        stop = false
        signaller = Thread.new do
          until stop
            mutex.synchronize { condition.signal }
            sleep(0.0001)
          end
        end
        scheduled_by(-> { late.new(backend:) }) do
          10.times do
            mutex.synchronize do
              condition.wait(mutex)
              woken += 1
            end
          end
        end
        expect(woken).to eq(10)
      ensure
        stop = true
        signaller.join
      end

      it "keeps no blocker alive for fibers that have ended" do
        blockers = ObjectSpace::WeakMap.new
        scheduled do |scheduler|
          100.times do |index|
            Fiber.schedule do
              blocker = Object.new
              blockers[blocker] = index
              scheduler.unblock(blocker, Fiber.current)
            end
          end
          let_others_run
          eventually { GC.start || blockers.size < 10 }
        end
      end
    end

    it "ignores an unblock after the scheduler is closed" do
      fiber = scheduler = nil
      scheduled do |current|
        scheduler = current
        fiber = Fiber.current
      end
      expect(scheduler).to be_closed
      expect { scheduler.unblock(:label, fiber) }.not_to raise_error
    end

    it "keeps the order in which fibers were unblocked" do
      order = []
      scheduled do |scheduler|
        waiters = Array.new(5) { |index| Fiber.schedule { order << index if scheduler.block(:label, nil) } }
        [3, 0, 4, 1, 2].each { |index| scheduler.unblock(:label, waiters[index]) }
      end
      expect(order).to eq([3, 0, 4, 1, 2])
    end

    it "keeps Thread#join and #value waiting until the thread has ended" do
      scheduled do
        gate = Thread::Queue.new
        thread = Thread.new { gate.pop }
        values = []
        2.times { Fiber.schedule { values << thread.value } }
        let_others_run(10)
        expect(values).to be_empty
        expect(thread.join(0.01)).to be_nil
        gate << :value
        expect(thread.join).to be(thread)
        let_others_run
        expect(values).to eq(%i[value value])
      end
    end

    it "raises into a fiber that waits for a Queue; the next fiber gets the next item" do
      taken = []
      scheduled do
        queue = Thread::Queue.new
        interrupted = Fiber.schedule { taken << raised { queue.pop }.class }
        Fiber.schedule { taken << queue.pop }
        interrupted.raise(IndexError)
        expect(queue.num_waiting).to eq(1)
        queue << :pushed
      end
      expect(taken).to eq([IndexError, :pushed])
    end

    it "raises TypeError for objects that are no fiber or no duration" do
      scheduled do |scheduler|
        expect { scheduler.unblock(:label, nil) }.to raise_error(TypeError)
        expect { scheduler.unblock(:label, Thread.current) }.to raise_error(TypeError)
        expect { scheduler.block(:label, -1) }.to raise_error(ArgumentError, /negative/)
        expect { scheduler.block(:label, "1") }.to raise_error(TypeError)
        expect(scheduler.block(:label, 0.001)).to be(false)
      end
    end
  end
end
