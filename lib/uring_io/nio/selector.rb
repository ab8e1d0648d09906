# frozen_string_literal: true

require_relative "../../uring_io"
require_relative "monitor"

module UringIO
  # What programs on nio4r, Puma's reactor first of all, get from +require "uring_io/nio"+.
  module NIO
    # Waits for many IOs at once: the contract of NIO::Selector, on io_uring, epoll, poll or select.
    #
    #   require "uring_io/nio/selector"
    #   selector = UringIO::NIO::Selector.new
    #   selector.register(peer, :r).value = "what belongs to it"
    #   socket.write("hello")
    #   selector.select { |monitor| puts monitor.value, monitor.io.readpartial(10) }
    #
    # One thread selects, whichever it is. #wakeup is for any thread at any time. #register, #deregister, #close and
    # Monitor#close wait in other threads until the running #select has returned, as those of nio4r do; within the
    # block of #select they do not.
    #
    # An IO is reported as long as it is ready. One that is closed is not, but stays registered until it is
    # deregistered. A child by fork has its parent's selectors with all that is registered, as selectors of its own.
    class Selector
      # @param backend [Symbol, nil] :io_uring, :epoll, :kqueue, :poll or :select; URING_IO_BACKEND or else the best
      #   that works when nil
      # @raise [UnsupportedError] when the backend that was asked for cannot be used here
      def initialize(backend: nil)
        @poller = Poller.new(backend:)
        @monitors = {}
        # Watches that are to be armed, or are so already, or over.
        @changed = []
        # What the poller has found and nobody has looked at yet. Here, as an exception may come from outside.
        @found = []
        @lock = Thread::Mutex.new
        @closed = false
      end

      # @return [Symbol] :io_uring, :epoll, :kqueue, :poll or :select
      # @raise [IOError] when the selector is closed
      def backend
        check_open
        @poller.backend
      end

      # Begins to wait for an IO.
      # @param io [IO, #to_io]
      # @param interests [Symbol] :r, :w or :rw
      # @return [Monitor]
      # @raise [ArgumentError] when it is registered already, or the interests are none
      # @raise [IOError] when the selector or the IO is closed
      # @raise [UnsupportedError] when the backend is :select and the descriptor is beyond 1023
      def register(io, interests)
        exclusively do
          check_open
          raise ArgumentError, "this IO is already registered with selector" if @monitors.key?(io)

          monitor = Monitor.new(io, interests, self)
          @monitors[io] = monitor
          changed(monitor.watch)
          monitor
        end
      end

      # Ends waiting for an IO, which may be closed; so may the selector.
      # @param io [IO, #to_io] what was registered
      # @return [Monitor, nil] the monitor, closed; nil when there is none
      def deregister(io)
        exclusively do
          @monitors[io]&.close(false)
          @monitors.delete(io)
        end
      end

      # @param io [IO, #to_io]
      # @return [Boolean]
      def registered?(io)
        @monitors.key?(io)
      end

      # @return [Boolean] whether nothing is registered
      def empty?
        @monitors.empty?
      end

      # Waits until an IO is ready for what its monitor is interested in, a #wakeup, or the timeout. A #wakeup before
      # it counts, too.
      # @param timeout [Numeric, nil] seconds; nil for as long as it takes
      # @yieldparam monitor [Monitor] one after the other, while the selector is locked. What the block leaves undone
      #   by an exception or break is reported again
      # @return [Array<Monitor>] the monitors that are ready: none after a #wakeup
      # @return [Integer] with a block, their number
      # @return [nil] when the time was over
      # @raise [IOError] when the selector is closed
      def select(timeout = nil)
        exclusively do
          check_open
          ready = attached { ready_within(timeout) }
          next ready&.filter_map(&:monitor) unless ready && block_given?

          ready.count { |watch| watch.ready? && (yield(watch.monitor) || true) }
        end
      end

      # Ends the #select that runs, or else the next one. From any thread, and in trap handlers.
      # @return [nil]
      # @raise [IOError] when the selector is closed
      def wakeup
        check_open
        @poller.wakeup
      end

      # Ends the #select that runs, and closes. Repeatable.
      # @return [nil]
      def close
        @closed = true
        @poller.wakeup
        exclusively { @poller.close }
      end

      # @return [Boolean]
      def closed?
        @closed
      end

      # @return [String]
      def inspect
        "#<#{self.class} #{@poller.backend}, #{@monitors.size} registered#{', closed' if @closed}>"
      end

      # @return [Poller]
      # @api private
      attr_reader :poller

      # Has a watch armed by the next turn.
      # @return [void]
      # @api private
      def changed(watch)
        @changed << watch
      end

      private

      def check_open
        raise IOError, "selector is closed" if @closed
      end

      # Runs the block in one thread at a time, in which it may be nested.
      def exclusively
        return yield if @holder.equal?(Thread.current)

        @lock.synchronize do
          @holder = Thread.current
          yield
        ensure
          @holder = nil
        end
      end

      def attached
        polls = @poller.attach
        forget(polls) unless polls == @polls
        yield
      ensure
        @poller.detach
      end

      # Nothing is armed in another thread, or in a child by fork.
      def forget(polls)
        watches = @monitors.each_value.map(&:watch)
        watches.each(&:forgotten)
        @changed.concat(watches)
        @polls = polls
      end

      # Watches that are ready; none when it was woken, nil when the time was over.
      def ready_within(timeout)
        ready = []
        start = now
        # What an exception has kept from being looked at is as old as can be.
        take(ready) { 0 }
        @poller.look(@found)
        take(ready)
        left = timeout
        loop do
          check_open # a trap handler may have closed it
          arm(ready)
          woken = @poller.wait(ready.empty? ? left : 0, @found)
          take(ready)
          return ready if woken || ready.any?

          left = timeout && (timeout - (now - start))
          return if left && left <= 0
        end
      ensure
        # Not before, as they would be found again.
        @changed.concat(ready)
      end

      # Adds those that are ready of what the poller has found. The others are to be armed again.
      def take(ready)
        while (watch = @found.first)
          events = block_given? ? yield : @found[1]
          watch.found(events) ? ready << watch : changed(watch)
          @found.shift(2)
        end
      end

      def arm(ready)
        while (watch = @changed.first)
          ready << watch if watch.arm
          @changed.shift
        end
      end

      def now
        Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end
    end
  end
end
