# frozen_string_literal: true

module Closes
  # Ruby's exception in a thread that is in a system call on an IO when another thread closes that IO.
  module ForOthers
    def self.===(error) = error.instance_of?(IOError) && error.message == "stream closed in another thread"
  end

  # Those who close: whoever asks, another fiber, a thread without a scheduler, the scheduler of another thread, a trap
  # handler, a finalizer.
  class Closers
    NAMES = %i[itself fiber thread other trap finalizer].freeze
    # A collection takes its time.
    SELDOM = { finalizer: 30 }.freeze

    @jobs = []

    class << self
      # Asks the main thread to run a job in its handler.
      def trap_with(job)
        trap("USR1") { @jobs.shift.call until @jobs.empty? } unless @trapped
        @trapped = true
        @jobs << job
        Process.kill("USR1", Process.pid)
      end
    end

    # @param other [Thread::Queue, nil] whose jobs the fibers of another scheduler do
    def initialize(stint, other)
      @stint = stint
      @other = other
      @jobs = Thread::Queue.new
      @thread = Thread.new do
        while (job = @jobs.pop)
          job.call
        end
      end
    end

    # Those that there are.
    def names = (@other ? NAMES : NAMES - [:other]).select { |name| Closes.chosen("CLOSERS", name) }

    def sample
      name = names.sample(random: @stint.random)
      often = @stint.random.rand(SELDOM.fetch(name, 1)).zero?
      often || names.size == 1 ? name : (names - SELDOM.keys).sample(random: @stint.random)
    end

    # The exception of the block when this closer runs it; :late when the block does not come back.
    def run(name, &block)
      outcome = Thread::Queue.new
      job = lambda do
        block.call
        outcome << :done
      rescue *(name == :trap ? [Interrupted, ForOthers] : [Interrupted]) => error
        # Meant for the fiber in which the handler of a signal runs: Ruby raises what waits for a thread wherever that
        # looks for it first.
        block.call
        outcome << :done
        raise error
      rescue StandardError => error
        outcome << error
      end
      start(name, job)
      found = outcome.pop(timeout: Stint::PATIENCE) || :late
      found == :done ? nil : found
    end

    def stop
      @jobs.close
      @thread.join
    end

    private

    def start(name, job)
      case name
      when :itself then job.call
      when :fiber then Fiber.schedule { job.call }
      when :thread then @jobs << job
      when :other then @other << job
      when :trap then self.class.trap_with(job)
      when :finalizer then finalize(job)
      end
    end

    def finalize(job)
      done = false
      forget(lambda do |_|
        done = true
        job.call
      end)
      5.times { done ? break : GC.start }
      job.call unless done
    end

    # In a method of its own, so that nothing is left of the object.
    def forget(finalizer)
      10.times { Object.new }
      ObjectSpace.define_finalizer(Object.new, finalizer)
      nil
    end
  end
end
