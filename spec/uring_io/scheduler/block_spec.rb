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

    it "takes a timeout of zero for one round" do
      scheduled { |scheduler| expect(scheduler.block(:label, 0)).to be(false) }
    end

    it "unblocks from another thread while this one waits in the kernel" do
      scheduled do |scheduler|
        fiber = Fiber.current
        woken = false
        thread = Thread.new do
          # An unblock before the fiber has parked is for nobody, so it is repeated.
          until woken
            scheduler.unblock(:label, fiber)
            sleep(0.001)
          end
        end
        expect(scheduler.block(:label, nil)).to be(true)
        woken = true
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

    it "wakes a fiber once for several unblocks, and leaves none over for its next park" do
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

    it "ignores an unblock for a fiber that runs, has ended or was never scheduled" do
      scheduled do |scheduler|
        ended = Fiber.schedule { :ends }
        scheduler.unblock(:label, ended)
        scheduler.unblock(:label, Fiber.current)
        scheduler.unblock(:label, Fiber.new { :never })
        expect(scheduler.block(:label, 0.01)).to be(false)
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

    it "raises what is raised into a fiber that waits for a Queue, which forgets it: the next gets what is pushed" do
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

    it "refuses what is no fiber or no duration" do
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
