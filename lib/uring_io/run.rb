# frozen_string_literal: true

# io_uring for Ruby: a fiber scheduler that runs blocking-style programs concurrently.
module UringIO
  class << self
    # Sets a scheduler for this thread, runs the block in a non-blocking fiber, waits for every fiber and restores the
    # scheduler that the thread had before.
    #
    #   UringIO.run { |scheduler| 10.times { Fiber.schedule { work } } }
    #
    # @param inherit [:execution_state, nil] in Rails: whether each fiber begins with a copy of the state of the fiber
    #   that schedules it, see UringIO::Rails
    # @param options [Hash] for Scheduler.new: backend, entries, sqpoll, sqpoll_idle, sqpoll_cpu, workers,
    #   restrict
    # @yieldparam scheduler [Scheduler]
    # @return the value of the block. This method raises an exception of the block after the other fibers have ended;
    #   +exit+ and signals do not wait for them.
    # @raise [ArgumentError] for +inherit+ without Rails
    # @raise [Error] in a fiber of a scheduler, and when the thread has a scheduler of another class: setting ours would
    #   close it
    def run(inherit: nil, **options, &block)
      raise ArgumentError, "UringIO.run needs a block" unless block

      previous = Fiber.scheduler
      check_nesting(previous)
      scheduler = scheduler_for(inherit, options)
      suspending(previous) { Fiber.set_scheduler(scheduler) }
      begin
        scheduler.__send__(:land_here) unless root_fiber?
        value_of(scheduler, block)
      ensure
        Fiber.set_scheduler(previous)
      end
    end

    private

    # rails/run.rb prepends a module with a method of this name.
    def scheduler_for(inherit, options)
      return Scheduler.new(**options) if inherit.nil?

      raise ArgumentError, "inherit: #{inherit.inspect} needs Rails, which is not loaded: leave it out, or " \
                           "`require \"uring_io/rails\"` once Rails or ActiveSupport is loaded"
    end

    # Whether this is the thread's root fiber. Ruby has no method for that, but the root fiber is blocking and has no
    # block that #inspect could name. A fiber of a C extension looks the same in Fiber.blocking.
    def root_fiber?
      fiber = Fiber.current
      fiber.blocking? && fiber.inspect.match?(/\A#<Fiber:0x\h+ \(\w+\)>\z/)
    end

    def check_nesting(previous)
      if Fiber.current_scheduler
        raise Error, "this fiber runs under #{previous.class} already: call the block, or " \
                     "Fiber.schedule; UringIO.run is for code outside of a scheduler"
      end
      return if previous.nil? || previous.is_a?(Scheduler)

      raise Error, "this thread has a #{previous.class}, which would be closed: call UringIO.run " \
                   "in a thread of its own"
    end

    def suspending(previous, &)
      previous ? previous.suspend(&) : yield
    end

    def value_of(scheduler, block)
      value = failure = nil
      Fiber.schedule do
        value = block.call(scheduler)
      rescue SystemExit, SignalException, Scheduler::Shutdown
        raise
      rescue Exception => error # rubocop:disable Lint/RescueException
        failure = error
      end
      scheduler.run
      raise failure if failure

      value
    end
  end
end
