# frozen_string_literal: true

require "timeout"
require_relative "../case"

# Deadlines that pass at the moment of the wakeup. One waiter takes each given object, once: no object stays in a queue,
# free in a pool or signalled while anybody waits for it, and nobody gets an object that was not given.
Case.run(operations: 3_000_000) do
  rng = random

  # Waits for so long, or for ever, and counts the faults.
  within = lambda do |seconds, &work|
    seconds ? Timeout.timeout(seconds, &work) : work.call
  rescue Timeout::Error
    fault
    nil
  end
  # Most deadlines pass while others run, some in the middle of a turn.
  limit = -> { rng.rand(4).zero? ? nil : rng.rand * 0.01 }

  # Waits until the block is true. Notes a violation when it stays false for long.
  settles = lambda do |text, &settled|
    patience = now + 5
    sleep(0.0005) until settled.call || now > patience
    expect(settled.call, text.call)
  end

  # A pool of few things that many fibers wait for, most of them in vain. When the hurry is over, those who wait
  # without a limit must have had their turn.
  pool = lambda do
    scheduled do
      things = Thread::Queue.new
      used = Array.new(5) { |number| (things << number) && 0 }
      use = lambda do |seconds|
        number = things.pop
        used[number] += 1
        violation("#{number} is used by #{used[number]}") if used[number] > 1
        sleep(seconds)
      ensure
        (used[number] -= 1) && (things << number) if number
      end
      hasty = Array.new(200) do
        Fiber.schedule { within.call(0.002 + (rng.rand * 0.03)) { use.call(rng.rand * 0.002) } && done }
      end
      patient = Array.new(20) { Fiber.schedule { use.call(0.0005) && done } }
      text = -> { "#{patient.count(&:alive?)} wait for a pool in which #{things.size} of 5 are free" }
      settles.call(text) { patient.none?(&:alive?) && hasty.none?(&:alive?) }
      [*patient, *hasty].each { |fiber| fiber.kill if fiber.alive? }
    end
  end

  # Numbers through a queue that is bounded or not: each is taken once.
  queue = lambda do |numbers|
    scheduled do
      taken = Hash.new(0)
      given = 0
      takers = Array.new(20) do
        Fiber.schedule do
          loop do
            number = within.call(limit.call) { numbers.pop }
            break if number == :end

            taken[number] += 1 if number
            done
          end
        end
      end
      300.times do
        # One that gives up to wait for room has given nothing.
        number = given + 1
        given = number if within.call(limit.call) { numbers << number }
        sleep(rng.rand * 0.0002) if rng.rand(3).zero?
      end
      settles.call(-> { "#{given - taken.size} of #{given} are not taken" }) { taken.size == given }
      taken.each { |number, times| violation("#{number} was taken #{times} times") if times != 1 }
      takers.size.times { numbers << :end }
    end
  end

  # A count under a ConditionVariable.
  condition = lambda do
    scheduled do
      mutex = Mutex.new
      changed = ConditionVariable.new
      there = 0
      taken = 0
      given = 0
      over = false
      20.times do
        Fiber.schedule do
          until over
            within.call(limit.call) do
              mutex.synchronize do
                changed.wait(mutex) until there.positive? || over
                (there -= 1) && (taken += 1) if there.positive?
              end
            end
            done
          end
        end
      end
      300.times do
        mutex.synchronize { (there += 1) && (given += 1) && changed.signal }
        sleep(rng.rand * 0.0002) if rng.rand(3).zero?
      end
      settles.call(-> { "#{there} of #{given} are signalled and not taken" }) { taken == given }
      over = true
      mutex.synchronize { changed.broadcast }
    end
  end

  while more?
    pool.call
    queue.call(Thread::Queue.new)
    queue.call(Thread::SizedQueue.new(3))
    condition.call
  end
end
