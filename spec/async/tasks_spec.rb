# frozen_string_literal: true

require_relative "async_helper"
require "async/condition"
require "async/idler"
require "async/limited_queue"
require "async/notification"
require "async/promise"

RSpec.describe "Async tasks" do
  each_reactor do
    it "run at once when they start, take turns with their maker in order, and end with a value each" do
      order = []
      values = reactor do |task|
        tasks = Array.new(3) do |index|
          task.async do |inner|
            order << "begin #{index}"
            inner.yield
            order << "end #{index}"
            index * 10
          end
        end
        order << "all made"
        tasks.map(&:wait)
      end
      expect(values).to eq([0, 10, 20])
      expect(order).to eq(["begin 0", "begin 1", "end 0", "begin 2", "end 1", "all made", "end 2"])
    end

    it "sleep at the same time and wake up in the order of their durations" do
      order = []
      start = monotonic
      reactor do |task|
        [0.06, 0.02, 0.04].map { |seconds| task.async { order << seconds if sleep(seconds) } }.each(&:wait)
      end
      expect(order).to eq([0.02, 0.04, 0.06])
      expect(monotonic - start).to be >= 0.06
    end

    it "pass their exception to the waiting task, and the other tasks go on" do
      finished = false
      reactor do |task|
        failing = task.async(finished: false) do
          sleep(0)
          raise KeyError, "not here"
        end
        other = task.async { finished = true if sleep(0.01) }
        expect { failing.wait }.to raise_error(KeyError, "not here")
        expect(failing).to be_failed
        other.wait
      end
      expect(finished).to be(true)
    end

    it "wait for 1,000 other tasks, each in a fiber of its own, which tasks of tasks have started" do
      sum = 0
      reactor do |task|
        10.times do |tens|
          task.async do |parent|
            100.times { |index| parent.async { sum += (tens * 100) + index if sleep(0) } }
          end
        end
      end
      expect(sum).to eq(499_500)
    end

    it "end before the reactor does, except transient ones, which the reactor then stops" do
      ended = []
      reactor do |task|
        task.async(transient: true) do
          sleep
        ensure
          ended << :transient
        end
        task.async { ended << :task if sleep(0.01) }
      end
      expect(ended).to eq(%i[task transient])
    end

    it "take turns even with one that only yields and never waits" do
      rounds = 0
      reactor do |task|
        busy = task.async do |inner|
          loop do
            rounds += 1
            inner.yield
          end
        end
        reader, writer = pipe
        reading = task.async { reader.gets }
        task.async { writer.puts("line") if sleep(0.005) }
        expect(reading.wait).to eq("line\n")
        busy.stop
      end
      expect(rounds).to be > 5
    end

    it "in a barrier are awaited together, in the order in which they end" do
      order = []
      reactor do
        barrier = Async::Barrier.new
        [0.03, 0.01, 0.02].each { |seconds| barrier.async { seconds if sleep(seconds) } }
        barrier.wait { |ended| order << ended.wait }
        expect(barrier).to be_empty
      end
      expect(order).to eq([0.01, 0.02, 0.03])
    end

    it "in a barrier stop together" do
      ended = 0
      reactor do
        barrier = Async::Barrier.new
        20.times do
          barrier.async do
            sleep
          ensure
            ended += 1
          end
        end
        barrier.stop
        expect(ended).to eq(20)
        barrier.wait
      end
    end

    it "hold a semaphore at most as often as it allows, and each gets it in the end" do
      inside = most = done = 0
      reactor do
        semaphore = Async::Semaphore.new(3)
        30.times do |index|
          semaphore.async do
            inside += 1
            most = [most, inside].max
            sleep(index.odd? ? 0 : 0.001)
            inside -= 1
            done += 1
          end
        end
      end
      expect([most, inside, done]).to eq([3, 0, 30])
    end

    it "pass 500 items through a limited queue in order, and the producer is never ahead by more than the limit" do
      taken = []
      ahead = 0
      reactor do |task|
        queue = Async::LimitedQueue.new(4)
        task.async do
          500.times do |number|
            queue.push(number)
            ahead = [ahead, number - taken.size].max
          end
          queue.close
        end
        while (item = queue.pop)
          taken << item
        end
      end
      expect(taken).to eq(Array.new(500) { |number| number })
      expect(ahead).to be <= 5
    end

    it "that wait for a queue get its items in the order in which they came" do
      taken = {}
      reactor do |task|
        queue = Async::Queue.new
        tasks = Array.new(5) { |index| task.async { taken[index] = queue.dequeue } }
        queue.enqueue(*%w[a b c d e])
        tasks.each(&:wait)
      end
      expect(taken).to eq({ 0 => "a", 1 => "b", 2 => "c", 3 => "d", 4 => "e" })
    end

    it "that wait for a queue with a timeout go on without an item" do
      reactor do
        queue = Async::Queue.new
        start = monotonic
        expect(queue.dequeue(timeout: 0.01)).to be_nil
        expect(monotonic - start).to be >= 0.01
      end
    end

    it "that wait for a condition or a notification all wake, once, with its value" do
      [Async::Condition, Async::Notification].each do |kind|
        woken = []
        reactor do |task|
          condition = kind.new
          tasks = Array.new(10) { |index| task.async { woken << [index, condition.wait] } }
          expect(woken).to be_empty
          condition.signal(:value)
          tasks.each(&:wait)
          condition.signal(:nobody)
        end
        expect(woken).to match_array(Array.new(10) { |index| [index, :value] })
      end
    end

    it "wait for a promise that a thread resolves" do
      value = reactor do
        promise = Async::Promise.new
        thread = Thread.new { promise.resolve(:kept) }
        promise.wait.tap { thread.join }
      end
      expect(value).to eq(:kept)
    end

    it "take turns with Ruby's own Mutex, ConditionVariable and Queue" do
      log = []
      reactor do |task|
        mutex = Mutex.new
        condition = ConditionVariable.new
        ready = false
        waiting = task.async do
          mutex.synchronize do
            condition.wait(mutex) until ready
            log << :woken
          end
        end
        task.async do
          mutex.synchronize do
            sleep(0.005)
            ready = true
            log << :ready
            condition.signal
          end
        end
        waiting.wait
      end
      expect(log).to eq(%i[ready woken])
    end

    it "see the reactor's load between idle and busy" do
      loads = reactor do
        scheduler = Fiber.scheduler
        sleep(0.05)
        idle = scheduler.load
        finish = monotonic + 0.15
        nil until monotonic > finish
        sleep(0)
        [idle, scheduler.load]
      end
      expect(loads.first).to be < loads.last
    end
  end
end

RSpec.describe "Async timeouts" do
  each_reactor do
    it "end a sleep, a queue and a read with Async::TimeoutError, not before their time" do
      reactor do |task|
        reader, = pipe
        [-> { sleep }, -> { Thread::Queue.new.pop }, -> { reader.readpartial(1) }, -> { reader.wait_readable }]
          .each do |waiting|
            start = monotonic
            expect { task.with_timeout(0.02) { waiting.call } }.to raise_error(Async::TimeoutError, "execution expired")
            expect(monotonic - start).to be_between(0.02, 5)
          end
      end
    end

    it "do not end operations that finish in time, nor later ones" do
      reactor do |task|
        reader, writer = pipe
        writer.write("x")
        expect(task.with_timeout(0.01) { reader.readpartial(1) }).to eq("x")
        expect(sleep(0.03)).to be_a(Integer)
      end
    end

    it "nest: the one that passes first ends its own block" do
      reactor do |task|
        inner = raised do
          task.with_timeout(1) { task.with_timeout(0.01, KeyError, "inner") { sleep } }
        end
        expect(inner).to be_a(KeyError)

        after = nil
        outer = raised do
          task.with_timeout(0.01) do
            task.with_timeout(1, KeyError, "inner") { sleep }
          ensure
            after = :ensured
          end
        end
        expect(outer).to be_a(Async::TimeoutError)
        expect(after).to eq(:ensured)
      end
    end

    it "that all pass at the same moment end all of 200 reads" do
      ended = 0
      reactor do |task|
        pairs = Array.new(50) { unix_pair }
        pairs.cycle(4) do |near, _|
          task.async do
            task.with_timeout(0.02) { near.wait_readable }
          rescue Async::TimeoutError
            ended += 1
          end
        end
      end
      expect(ended).to eq(200)
    end

    it "from Timeout.timeout raise Timeout::Error, without a thread" do
      threads = Thread.list.size + 1
      reactor do
        during = nil
        expect { Timeout.timeout(0.01) { (during = Thread.list.size) && sleep } }.to raise_error(Timeout::Error)
        expect(during).to be <= threads
      end
    end

    it "of an IO raise IO::TimeoutError, and later bytes still arrive" do
      reactor do
        near, far = unix_pair
        near.timeout = 0.01
        expect { near.readpartial(1) }.to raise_error(IO::TimeoutError)
        expect { near.gets }.to raise_error(IO::TimeoutError)
        fill(near)
        expect { near.write("x" * 100_000) }.to raise_error(IO::TimeoutError)
        far.write("late")
        expect(near.readpartial(10)).to eq("late")
      end
    end

    it "of wait_readable and wait_writable return nil" do
      reactor do
        near, = unix_pair
        expect(near.wait_readable(0.01)).to be_nil
        fill(near)
        expect(near.wait_writable(0.01)).to be_nil
        expect(near.wait_readable(0)).to be_nil
      end
    end

    it "that are cancelled 5,000 times leave none behind that fires" do
      reactor do |task|
        near, far = unix_pair
        5_000.times do
          task.with_timeout(0.6) do
            far.write("x")
            near.readpartial(1)
          end
        end
        expect(sleep(0.6)).to be_a(Integer)
      end
    end
  end
end
