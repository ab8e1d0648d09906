# frozen_string_literal: true

require "monitor"

RSpec.describe "Ruby's own synchronization under the scheduler" do
  each_backend do |_backend|
    it "Mutex lets one fiber in at a time, first come first served" do
      order = []
      scheduled do
        mutex = Thread::Mutex.new
        4.times do |index|
          Fiber.schedule do
            mutex.synchronize do
              order << [:in, index]
              sleep(0.001)
              order << [:out, index]
            end
          end
        end
      end
      expect(order).to eq(4.times.flat_map { |index| [[:in, index], [:out, index]] })
    end

    it "Mutex excludes another thread as well" do
      order = Thread::Queue.new
      scheduled do
        mutex = Thread::Mutex.new
        gate = Thread::Queue.new
        thread = Thread.new do
          mutex.synchronize do
            order << :thread_in
            gate.pop
            order << :thread_out
          end
        end
        eventually { order.size == 1 }
        Fiber.schedule { mutex.synchronize { order << :fiber_in } }
        let_others_run
        gate << :go
        thread.join
      end
      expect(Array.new(order.size) { order.pop }).to eq(%i[thread_in thread_out fiber_in])
    end

    { "killed" => :kill.to_proc, "raised into" => ->(fiber) { fiber.raise(IndexError) } }.each do |name, ending|
      it "Mutex goes to the next waiter when the fiber that got it is #{name} before it runs" do
        order = []
        scheduled do
          mutex = Thread::Mutex.new.lock
          fibers = Array.new(3) do |index|
            Fiber.schedule do
              mutex.synchronize { order << index }
            rescue IndexError
              order << :raised
            end
          end
          mutex.unlock
          ending.call(fibers.first)
          expect(fibers.first).not_to be_alive
        end
        expect(order - [:raised]).to eq([1, 2])
      end
    end

    it "Monitor is reentrant in its fiber and excludes other fibers, and its conditions wake waiters" do
      order = []
      scheduled do
        monitor = Monitor.new
        condition = monitor.new_cond
        Fiber.schedule do
          monitor.synchronize do
            order << :waits
            condition.wait
            monitor.synchronize { order << :woken }
          end
        end
        Fiber.schedule do
          monitor.synchronize do
            order << :signals
            condition.signal
            sleep(0.001)
            order << :leaves
          end
        end
      end
      expect(order).to eq(%i[waits signals leaves woken])
    end

    it "ConditionVariable wakes one or all waiters, and times out" do
      woken = []
      scheduled do
        mutex = Thread::Mutex.new
        condition = Thread::ConditionVariable.new
        3.times { |index| Fiber.schedule { mutex.synchronize { condition.wait(mutex) && (woken << index) } } }
        condition.signal
        eventually { woken.any? }
        expect(woken).to eq([0])
        condition.broadcast
        eventually { woken.size == 3 }
        start = monotonic
        mutex.synchronize { condition.wait(mutex, 0.01) }
        expect(monotonic - start).to be >= 0.01
      end
      expect(woken).to eq([0, 1, 2])
    end

    it "Queue passes items in order, times out, and wakes its waiters when it closes" do
      taken = []
      scheduled do
        queue = Thread::Queue.new
        3.times { |index| Fiber.schedule { taken << [index, queue.pop] } }
        queue << :a << :b
        let_others_run
        queue.close
        let_others_run
        expect(Thread::Queue.new.pop(timeout: 0.005)).to be_nil
      end
      expect(taken).to eq([[0, :a], [1, :b], [2, nil]])
    end

    it "SizedQueue holds producers back" do
      order = []
      scheduled do
        queue = Thread::SizedQueue.new(1)
        Fiber.schedule do
          3.times do |index|
            queue << index
            order << [:pushed, index]
          end
        end
        order << :consumer
        3.times do |index|
          order << [:popped, queue.pop]
          eventually { index == 2 || order.include?([:pushed, index + 1]) }
        end
      end
      expect(order).to eq([[:pushed, 0], :consumer, [:popped, 0], [:pushed, 1], [:popped, 1], [:pushed, 2],
                           [:popped, 2]])
    end

    it "Queues carry work between two schedulers in two threads" do
      requests = Thread::Queue.new
      replies = Thread::Queue.new
      received = nil
      server = Thread.new do
        UringIO.run(backend:) do
          answer = ->(number) { Fiber.schedule { sleep(0.0001) && (replies << (number * 2)) } }
          while (number = requests.pop)
            answer.call(number)
          end
        end
      end
      scheduled do
        100.times { |number| requests << number }
        requests.close
        received = Array.new(100) { replies.pop }
      end
      server.join
      expect(received.sort).to eq(Array.new(100) { |number| number * 2 })
    end

    it "Thread#join and #value let fibers run, and raise the exception that ended the thread" do
      order = []
      scheduled do
        gate = Thread::Queue.new
        thread = Thread.new { gate.pop }
        Fiber.schedule do
          order << :before
          gate << :value
        end
        expect(order).to eq([:before])
        expect(thread.value).to eq(:value)
        failing = Thread.new do
          Thread.current.report_on_exception = false
          raise IndexError, "in the thread"
        end
        expect { failing.join }.to raise_error(IndexError, "in the thread")
      end
    end

    it "timeouts nest around IO, queues and sleeps of many fibers" do
      results = Array.new(50)
      scheduled do
        input, = unix_pair
        waits = [-> { sleep }, -> { input.wait_readable }, -> { Thread::Queue.new.pop }]
        50.times do |index|
          Fiber.schedule do
            Timeout.timeout(5) do
              results[index] = raised do
                Timeout.timeout(0.01) { waits[index % 3].call }
              end.class
            end
          end
        end
      end
      expect(results).to eq([Timeout::Error] * 50)
    end
  end
end
