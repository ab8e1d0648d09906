# frozen_string_literal: true

# Makes UringIO::Selector what io-event, and with it Async, async-http and Falcon, takes for every reactor that this
# process makes from now on:
#
#   require "uring_io/async"
#
# It may come before or after `require "async"`; a reactor that runs already keeps its selector. Which backend it is
# follows URING_IO_BACKEND, and otherwise is the best that works, as for UringIO::Selector.new.
#
# The choice is made inside this process and not by setting ENV["IO_EVENT_SELECTOR"], which every child program would
# inherit: those that use Async without this gem would not start. Children by fork, and threads, have it.
#
# Where the environment has IO_EVENT_SELECTOR, that counts: whoever runs the program asked for a certain selector.
# EPoll, Select and URing name io-event's own ones; UringIO names ours.
#
# With URING_IO_CHECKED=1 each selector is watched for wrong use, see UringIO::Selector::Checked.

require "uring_io"

module UringIO
  # See selector.rb.
  class Selector
    # The oldest io-event that is known to work with our selectors, as Async 2.46 needs it too.
    IO_EVENT_NEEDED = "1.21"
    private_constant :IO_EVENT_NEEDED

    # Loads io-event.
    # @raise [LoadError] when it is not there
    # @raise [Error] when it is too old
    # @api private
    def self.load_io_event
      # The version by itself first: the rest of one that is too old may not even load.
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
