# frozen_string_literal: true

require "async"
require "async/barrier"
require "async/semaphore"
require "async/queue"
require "timeout"

# Ruby starts its thread for timeouts at the first use and keeps it. Start it before any example counts threads.
Timeout.timeout(1) { nil }

# Programs on Async. Each runs on every selector: our four, and io-event's own EPoll, which shows whether the example
# itself is right. URING_IO_CHECKED=1 wraps them in UringIO::Selector::Checked, which finds wrong use.
module AsyncPrograms
  IO_EVENT = :io_event

  class << self
    # The reason why a selector cannot be used here, or nil when it can.
    def missing(name)
      return Backends.missing(name) unless name == IO_EVENT

      "io-event was built without EPoll" unless IO::Event::Selector.const_defined?(:EPoll, false)
    end

    # A selector whose loop fiber is the current fiber.
    def selector(name)
      return IO::Event::Selector::EPoll.new(Fiber.current) if name == IO_EVENT

      UringIO::Selector.new(Fiber.current, backend: name)
    end

    def checked(selector)
      require "uring_io/selector/checked"
      UringIO::Selector::Checked.new(selector)
    end
  end

  # Declares the block's examples once per selector. Within them +selector+ is its name.
  def each_reactor(**metadata, &)
    names = Backends::CHOSEN.to_h { |backend| ["UringIO::Selector with #{backend}", backend] }
    names["IO::Event::Selector::EPoll"] = IO_EVENT if Backends::CHOSEN.include?(:epoll)
    names.each do |title, name|
      reason = AsyncPrograms.missing(name)
      skipping = reason ? { skip: reason } : {}
      context "on #{title}", **metadata, **skipping, async: name do
        let(:selector) { name }
        class_exec(name, &)
      end
    end
  end

  # For examples of each_reactor.
  module Helpers
    # Runs the block in a task of a new reactor on this example's selector, in a thread of its own, and returns the
    # block's value or raises its exception once every task has ended.
    def reactor(&) = in_thread { reactor_here(&) }

    # The same in this thread.
    def reactor_here(&)
      Fiber.blocking do
        reactor = Async::Reactor.new(selector: reactor_selector)
        reactor.run(finished: false) { |task| stopping_others_on_failure(task, &) }.wait
      ensure
        Fiber.set_scheduler(nil)
      end
    end

    def reactor_selector
      made = AsyncPrograms.selector(selector)
      ENV["URING_IO_CHECKED"] == "1" ? AsyncPrograms.checked(made) : made
    end

    # Runs a script in a process of its own, whose reactors use this example's selector.
    def async_child(script, *, **options, &)
      return child("require \"async\"\n#{script}", *, **options, &) if selector == IO_EVENT

      env = { "URING_IO_BACKEND" => selector.to_s, **options.fetch(:env, {}) }
      child("require \"uring_io/async\"\nrequire \"async\"\n#{script}", *, **options, env:, &)
    end

    # Runs the block in a task, stops the task while it waits, and returns it. Raises an exception of the task.
    def stopped_task(&block)
      started = false
      task = Async::Task.current.async(finished: false) do |inner|
        started = true
        block.call(inner)
      end
      expect(started).to be(true)
      expect(task).to be_running
      task.stop
      task.wait
      expect(task).to be_cancelled
      task
    end

    private

    # After a failure, stops the waiting tasks: otherwise the reactor would wait for them.
    def stopping_others_on_failure(task)
      yield task
    rescue Exception # rubocop:disable Lint/RescueException
      task.children&.each(&:stop)
      raise
    end
  end
end

RSpec.configure do |config|
  config.extend AsyncPrograms
  config.include AsyncPrograms::Helpers, :async
end
