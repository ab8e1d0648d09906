# frozen_string_literal: true

# Runs code under a scheduler.
module Scheduling
  # Runs the block in a fiber of a new scheduler of this example's backend, in a thread of its own. Returns the block's
  # value or raises its exception once every fiber has ended.
  def scheduled(**options, &block)
    ending_fibers_on_failure(block) { |body| UringIO.run(backend:, **options, &body) }
  end

  # Like scheduled, but with a scheduler that the caller makes and Fiber.set_scheduler sets.
  def scheduled_by(make, &block)
    ending_fibers_on_failure(block) do |body|
      scheduler = make.call
      Fiber.set_scheduler(scheduler)
      value = nil
      Fiber.schedule { value = body.call(scheduler) }
      Fiber.set_scheduler(nil)
      value
    end
  end

  # Runs the block in the root fiber of a new thread that has a scheduler.
  def on_root
    in_thread do
      scheduler = new_scheduler
      Fiber.set_scheduler(scheduler)
      yield scheduler
    end
  end

  # The block's value or exception, from a thread that has ended when this method returns.
  def in_thread
    thread = Thread.new do
      yield
    rescue Exception # rubocop:disable Lint/RescueException
      # Do not report what thread.value raises below. Ruby still reports exceptions that end fibers.
      Thread.current.report_on_exception = false
      raise
    end
    thread.value
  ensure
    thread&.kill
    joined(thread) if thread
  end

  def joined(thread)
    thread.join(patience(5))
  rescue Exception # rubocop:disable Lint/RescueException
    nil # thread.value has raised it
  end
  private :joined

  # The block's exception, or nil when it raises none.
  def raised
    yield
    nil
  rescue Watchdog::Expired
    raise
  rescue Exception => error # rubocop:disable Lint/RescueException
    error
  end

  # After a failure, raises SystemExit: that does not wait for parked fibers.
  def ending_fibers_on_failure(block)
    failure = nil
    body = lambda do |scheduler|
      block.call(scheduler)
    rescue SystemExit, SignalException, UringIO::Scheduler::Shutdown
      raise
    rescue Exception => error # rubocop:disable Lint/RescueException
      failure = error
      raise SystemExit
    end
    in_thread do
      yield body
    rescue SystemExit => error
      raise failure || error
    end
  end
  private :ending_fibers_on_failure

  def monotonic
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  # Lets every ready fiber run until it parks. For examples that prove that something does not happen.
  def let_others_run(rounds = 3)
    rounds.times { sleep(0) }
  end

  # Waits until the block is true, for something that the kernel or another thread does.
  def eventually
    sleep(0.001) until yield
  end

  def new_scheduler(**)
    UringIO::Scheduler.new(backend:, **)
  end
end

RSpec.configure { |config| config.include Scheduling }
