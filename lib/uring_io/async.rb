# frozen_string_literal: true

# Makes io-event use UringIO::Selector for every reactor that this process makes from now on. Async, async-http and
# Falcon use io-event:
#
#   require "uring_io/async"
#
# It may come before or after `require "async"`; a reactor that runs already keeps its selector, and `require`
# warns inside of one. The selector uses the backend of URING_IO_BACKEND, or else the best one that works, as
# UringIO::Selector.new does.
#
# The choice holds for this process, its threads and its forked children. It does not set ENV["IO_EVENT_SELECTOR"]:
# every child program would inherit the variable, and programs that use Async without this gem would not start.
#
# When the environment has IO_EVENT_SELECTOR, io-event uses the selector that it names: EPoll, Select and URing are
# io-event's own, UringIO is ours.
#
# With URING_IO_CHECKED=1, each selector checks how it is used: see UringIO::Selector::Checked.

require "uring_io"

module UringIO
  class Selector
    # The oldest io-event that works with our selectors, as far as we know. Async 2.46 needs it too.
    IO_EVENT_NEEDED = "1.21"
    private_constant :IO_EVENT_NEEDED

    # Loads io-event.
    # @raise [LoadError] when it is not installed
    # @raise [Error] when it is too old
    # @api private
    def self.load_io_event
      # Load the version alone first: the rest of an io-event that is too old may not even load.
      require "io/event/version"
      if (IO::Event::VERSION.split(".").map(&:to_i) <=> IO_EVENT_NEEDED.split(".").map(&:to_i)).negative?
        raise Error, "uring_io/async needs io-event #{IO_EVENT_NEEDED} or newer, and this is #{IO::Event::VERSION}: " \
                     "run `bundle update io-event`, or `gem install io-event` without Bundler"
      end
      require "io/event"
    rescue LoadError => error
      raise unless error.path == "io/event/version"

      raise LoadError, "uring_io/async needs io-event #{IO_EVENT_NEEDED} or newer, which is not installed: it comes " \
                       "with async, so add `gem \"async\"` to the Gemfile, or run `gem install async`"
    end
    private_class_method :load_io_event

    load_io_event
  end
end

require_relative "core_ext/io_event"

if defined?(Async::Scheduler) && Fiber.scheduler.is_a?(Async::Scheduler)
  warn("uring_io: uring_io/async came too late for the reactor that runs here, which keeps its own selector: " \
       "require it before Async starts")
end
