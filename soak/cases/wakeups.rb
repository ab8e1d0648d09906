# frozen_string_literal: true

require_relative "../case"

# Every wakeup from another thread, a trap handler or another fiber arrives once, at whatever point of its park the
# sleeper is; and a program that waits for nothing uses no processor.
Case.run(operations: 1_000_000) do
  processor = -> { Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) }

  # Numbers go through a queue from threads and trap handlers to many fibers: each must come out once.
  deliver = lambda do |seconds|
    limit = now + seconds
    queue = Thread::Queue.new
    sent = 0
    signalled = 0
    received = Hash.new(0)
    before = trap(:USR1) { queue << (signalled -= 1) }
    # The end comes by a signal, too, of a higher number: so it comes after those before it.
    before_end = trap(:USR2) { 20.times { queue << nil } }
    senders = Array.new(2) do |sender|
      Thread.new do
        own = Random.new(sender)
        while now < limit
          queue << ((sent += 1).to_f + (sender * 0.5))
          Process.kill(:USR1, Process.pid) if own.rand(50).zero?
          own.rand(4).zero? ? sleep(own.rand * 0.001) : Thread.pass
        end
      end
    end
    scheduled do
      fibers = Array.new(20) do
        Fiber.schedule do
          while (number = queue.pop)
            received[number] += 1
            done
          end
        end
      end
      senders.each(&:join)
      Process.kill(:USR2, Process.pid)
      sleep(0.001) while fibers.any?(&:alive?)
    end
    trap(:USR1, before)
    trap(:USR2, before_end)
    received.each { |number, times| violation("#{number} came #{times} times") if times != 1 }
    # A signal that comes twice before it is handled is one signal.
    expect(received.keys.count(&:negative?) == -signalled, "#{-signalled} were sent by trap handlers")
    expect(received.keys.count { |number| number.is_a?(Float) } <= sent + 1, "more came than were sent")
    expect(queue.empty?, "#{queue.size} were left")
  end

  # Threads end, and unblock those who wait for them, a Mutex or a ConditionVariable.
  synchronise = lambda do
    scheduled do
      mutex = Mutex.new
      condition = ConditionVariable.new
      woken = 0
      waiting = Array.new(10) do
        Fiber.schedule do
          mutex.synchronize do
            condition.wait(mutex)
            woken += 1
          end
        end
      end
      Thread.new { mutex.synchronize { condition.broadcast } }.join
      Array.new(5) { |number| Thread.new { number } }.each { |thread| expect(thread.value, "no value") }
      sleep(0.0001) while waiting.any?(&:alive?)
      expect(woken == 10, "#{woken} of 10 were woken")
      done(16)
    end
  end

  # A child's end, many times, while signals come.
  children = lambda do
    scheduled do
      pids = Array.new(5) { |number| spawn("exit #{number}") }
      codes = pids.map { |pid| Process.wait2(pid).last.exitstatus }
      expect(codes == [0, 1, 2, 3, 4], "children ended with #{codes}")
      done(5)
    end
  end

  # A quiet moment: nobody may spin.
  rest = lambda do |seconds|
    scheduled do
      one, = UNIXSocket.pair
      fibers = [Fiber.schedule { one.readpartial(1) }, Fiber.schedule { Thread::Queue.new.pop },
                Fiber.schedule { sleep }]
      used = processor.call
      sleep(seconds)
      used = processor.call - used
      expect(used < seconds * 0.2, "#{(used * 1000).round} ms of #{(seconds * 1000).round} were used while idle")
      raise SystemExit if fibers
    end
  rescue SystemExit
    nil
  end

  Thread.report_on_exception = false
  while more?
    deliver.call([1.0, seconds / 5].min)
    10.times { synchronise.call if more? }
    children.call if more?
    rest.call([1.0, seconds / 10].min)
    fault
  end
end
