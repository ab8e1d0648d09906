# frozen_string_literal: true

require "timeout"

RSpec.describe UringIO::Scheduler, "#timeout_after" do
  each_backend do |_backend|
    it "returns the value of a block that ends in time, and does not fire afterwards" do
      scheduled do
        expect(Timeout.timeout(0.01) { :value }).to eq(:value)
        expect(Timeout.timeout(10) { sleep(0.001) }).to be_a(Integer)
        start = monotonic
        sleep(0.02)
        expect(monotonic - start).to be >= 0.02
      end
    end

    it "passes the seconds to the block" do
      scheduled { |scheduler| expect(scheduler.timeout_after(5, Timeout::Error, "late") { |n| n }).to eq(5) }
    end

    {
      "sleeps" => ->(_) { sleep },
      "sleeps for long" => ->(_) { sleep(60) },
      "pops from an empty queue" => ->(_) { Thread::Queue.new.pop },
      "locks a Mutex that another fiber has" => lambda do |_|
        mutex = Thread::Mutex.new
        queue = Thread::Queue.new
        Fiber.schedule { mutex.synchronize { queue.pop } }
        begin
          mutex.lock
        ensure
          queue << :unlock
        end
      end,
      "waits for a ConditionVariable" => lambda do |_|
        mutex = Thread::Mutex.new
        mutex.synchronize { Thread::ConditionVariable.new.wait(mutex) }
      end,
      "writes to a full pipe" => ->(spec) { spec.pipe.last.then { |writer| spec.fill(writer) && writer.write("x") } },
      "writes to a full socket" => ->(spec) { spec.unix_pair.first.then { |io| spec.fill(io) && io.write("x") } },
      "reads from a pipe" => ->(spec) { spec.pipe.first.read(1) },
      "reads from a socket" => ->(spec) { spec.unix_pair.first.readpartial(1) },
      "reads a line from a socket" => ->(spec) { spec.tcp_pair.first.gets },
      "waits for readiness" => ->(spec) { spec.unix_pair.first.wait_readable },
      "accepts" => ->(spec) { spec.tcp_server.accept },
      "joins a thread" => lambda do |_|
        thread = Thread.new { sleep }
        begin
          thread.join
        ensure
          thread.kill
        end
      end
    }.each do |what, wait|
      it "raises Timeout::Error in a block that #{what}, and not earlier" do
        spec = self
        scheduled do
          start = monotonic
          expect { Timeout.timeout(0.01) { wait.call(spec) } }.to raise_error(Timeout::Error, "execution expired")
          expect(monotonic - start).to be >= 0.01
        end
      end
    end

    it "raises the given class and message" do
      scheduled do
        error_class = Class.new(StandardError)
        expect { Timeout.timeout(0.001, error_class) { sleep } }.to raise_error(error_class, "execution expired")
        expect { Timeout.timeout(0.001, error_class, "mine") { sleep } }.to raise_error(error_class, "mine")
      end
    end

    it "raises in its own fiber what the exception class raises, also while that fiber waits for one it has resumed" do
      failing = Class.new(StandardError) { def self.exception(*) = raise(IndexError, "no exception") }
      scheduled do
        failure = nil
        Fiber.schedule { failure = raised { Timeout.timeout(0.001, failing) { Fiber.new { sleep }.resume } } }
        expect { eventually { failure } }.not_to raise_error
        expect(failure).to be_an(IndexError)
      end
    end

    it "accepts an exception class, or an instance, in a direct call" do
      scheduled do |scheduler|
        expect { scheduler.timeout_after(0.001, IndexError, "message") { sleep } }.to raise_error(IndexError, "message")
        instance = KeyError.new("instance")
        error = raised { scheduler.timeout_after(0.001, instance, "unused") { sleep } }
        expect(error).to equal(instance)
      end
    end

    it "raises at the next wait of a block that computes for too long" do
      order = []
      scheduled do
        start = monotonic
        Timeout.timeout(0.005) do
          nil until monotonic - start > 0.01
          order << :computed
          sleep(0)
          sleep(1)
          order << :never
        end
      rescue Timeout::Error
        order << :expired
      end
      expect(order).to eq(%i[computed expired])
    end

    it "lets the shorter of two nested timeouts fire, whichever it is" do
      scheduled do
        inner = Class.new(StandardError)
        outer = Class.new(StandardError)
        nested = lambda do |outer_seconds, inner_seconds|
          raised { Timeout.timeout(outer_seconds, outer) { Timeout.timeout(inner_seconds, inner) { sleep } } }.class
        end
        expect(nested.call(5, 0.005)).to be(inner)
        expect(nested.call(0.005, 5)).to be(outer)
        order = []
        begin
          Timeout.timeout(0.02, outer) do
            begin
              Timeout.timeout(0.001, inner) { sleep }
            rescue inner
              order << :inner
            end
            sleep
          end
        rescue outer
          order << :outer
        end
        expect(order).to eq(%i[inner outer])
      end
    end

    it "ends the innermost block first when two fire together" do
      scheduled do
        errors = []
        begin
          Timeout.timeout(0.001, IndexError) do
            Timeout.timeout(0.001, KeyError) { sleep }
          rescue IndexError => error
            errors << error.class
            sleep(0.1)
          end
        rescue IndexError => error
          errors << error.class
        end
        expect(errors).not_to be_empty
        expect(errors.last).to be(IndexError)
        sleep(0.005)
      end
    end

    it "fires in only one fiber of many", hurried: true do
      scheduled do
        results = Array.new(20)
        20.times do |index|
          Fiber.schedule do
            results[index] = raised { Timeout.timeout(index.even? ? 0.005 : 5) { sleep(0.03) } }.class
          end
        end
        eventually { results.none?(&:nil?) }
        expect(results).to eq([Timeout::Error, NilClass] * 10)
      end
    end

    it "lets the fiber wait again for the same IO afterwards, without losing input" do
      scheduled do
        [pipe, unix_pair].each do |input, output|
          3.times { expect { Timeout.timeout(0.002) { input.gets } }.to raise_error(Timeout::Error) }
          output.write("whole\n")
          expect(input.gets).to eq("whole\n")
        end
      end
    end

    it "cancels thousands of timeouts that do not fire" do
      scheduled do
        5_000.times { |index| expect(Timeout.timeout(3600) { index }).to eq(index) }
        start = monotonic
        sleep(0.001)
        expect(monotonic - start).to be < 10
      end
    end

    # Each returns the wait of two fibers, and a lambda that wakes one of them.
    woken = {
      "a queue" => lambda do
        queue = Thread::Queue.new
        [-> { queue.pop }, -> { queue << :item }]
      end,
      "a queue that is full" => lambda do
        queue = Thread::SizedQueue.new(1) << :first
        [-> { (queue << :item) && :item }, -> { queue.pop }]
      end,
      "a ConditionVariable" => lambda do
        mutex = Thread::Mutex.new
        condition = Thread::ConditionVariable.new
        there = 0
        wait = lambda do
          mutex.synchronize do
            condition.wait(mutex) until there.positive?
            there -= 1
            :item
          end
        end
        [wait, -> { mutex.synchronize { (there += 1) && condition.signal } }]
      end,
      "a Mutex" => lambda do
        mutex = Thread::Mutex.new
        holder = Thread::Queue.new
        Fiber.schedule { mutex.synchronize { holder.pop } }
        [-> { mutex.synchronize { :item } }, -> { holder << :go }]
      end
    }
    woken.each do |name, make|
      it "takes no wakeup of #{name} from the next waiter when the wakeup comes after the deadline" do
        # The wakeup comes this many turns after the deadline: around the turn of the deadline, and that of the raise.
        5.times do |turns|
          outcomes = []
          scheduled do
            wait, wake = make.call
            Fiber.schedule do
              outcomes << Timeout.timeout(0.001) { wait.call }
            rescue Timeout::Error
              outcomes << :late
            end
            second = Fiber.schedule { outcomes << wait.call }
            Fiber.schedule do
              deadline = monotonic + 0.002
              nil while monotonic < deadline
              turns.times { sleep(0) }
              wake.call
            end
            limit = monotonic + 5
            sleep(0.005) until outcomes.include?(:item) || monotonic > limit
            second.kill
          end
          expect(outcomes).to include(:item), "nobody was woken, #{turns} turns later"
        end
      end
    end

    it "does not outlive a fiber that another fiber kills inside of it" do
      order = []
      on_root do |scheduler|
        fiber = Fiber.schedule do
          Timeout.timeout(0.01) { sleep }
        ensure
          order << :ensure
        end
        fiber.kill
        order << :killed
        Fiber.schedule { order << :later if sleep(0.03) }
        scheduler.run
      end
      expect(order).to eq(%i[ensure killed later])
    end

    it "does not fire after the block has been left by throw or break" do
      scheduled do
        value = catch(:out) { Timeout.timeout(0.001) { throw :out, :thrown } }
        expect(value).to eq(:thrown)
        sleep(0.005)
        expect([1, 2].find { |number| Timeout.timeout(0.001) { break number } }).to eq(1)
        sleep(0.005)
      end
    end

    it "refuses negative and non-numeric durations, and a call without a block" do
      scheduled do |scheduler|
        expect { scheduler.timeout_after(-1, Timeout::Error, "") { nil } }.to raise_error(ArgumentError, /negative/)
        expect { scheduler.timeout_after("1", Timeout::Error, "") { nil } }.to raise_error(TypeError)
        expect { scheduler.timeout_after(nil, Timeout::Error, "") { nil } }.to raise_error(TypeError)
        expect { scheduler.timeout_after(1, Timeout::Error, "") }.to raise_error(StandardError)
        expect { scheduler.timeout_after(0.001, "no exception", "") { sleep(0.1) } }.to raise_error(StandardError)
        expect(Timeout.timeout(1) { :still_works }).to eq(:still_works)
      end
    end
  end
end
