# frozen_string_literal: true

require_relative "../../uring_io"
require_relative "monitor"

module UringIO
  # What programs on nio4r, Puma's reactor first of all, get from +require "uring_io/nio"+.
  module NIO
    # Waits for many IOs at once: the contract of NIO::Selector, on io_uring, epoll, poll or select.
    #
    #   selector = UringIO::NIO::Selector.new
    #   selector.register(socket, :r).value = client
    #   selector.select { |monitor| monitor.value.serve }
    #
    # One thread selects, whichever it is. #wakeup is for any thread at any time. #register, #deregister, #close and
    # Monitor#close wait in other threads until the running #select has returned, as those of nio4r do; within the
    # block of #select they do not.
    #
    # An IO is reported as long as it is ready. One that is closed is not, but stays registered until it is
    # deregistered. A child by fork has its parent's selectors with all that is registered, as selectors of its own.
    class Selector
      # @param backend [Symbol, nil] :io_uring, :epoll, :poll or :select; URING_IO_BACKEND or else the best that works
      #   when nil
      # @raise [UnsupportedError] when the backend that was asked for cannot be used here
      def initialize(backend: nil)
        @poller = Poller.new(backend:)
        @monitors = {}
        @changed = [] # watches to be armed, in part armed already or over
        @lock = Thread::Mutex.new
        @closed = false
      end

      # @return [Symbol] :io_uring, :epoll, :poll or :select
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
      # @raise [UnsupportedError] when the backend is :select and the descriptor beyond what that can watch
      def register(io, interests)
        exclusively do
          check_open
          raise ArgumentError, "this IO is already registered with selector" if @monitors.key?(io)

          @monitors[io] = Monitor.new(io, interests, self).tap { |monitor| changed(monitor.watch) }
        end
      end

      # Ends waiting for an IO, which may be closed; so may the selector.
      # @param io [IO, #to_io] what was registered
      # @return [Monitor, nil] the monitor, closed; nil when there is none
      def deregister(io)
        exclusively do
          monitor = @monitors.delete(io)
          monitor&.close(false)
          monitor
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
          next ready&.map(&:monitor) unless ready && block_given?

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
        forget if @poller.attach
        yield
      ensure
        @poller.detach
      end

      # Nothing is armed in another thread, or in a child by fork.
      def forget
        watches = @monitors.each_value.map(&:watch)
        watches.each(&:forgotten)
        @changed.replace(watches)
      end

      # Watches that are ready; none when it was woken, nil when the time was over.
      def ready_within(timeout)
        start = now
        ready = take(@poller.look)
        left = timeout
        loop do
          check_open # a trap handler may have closed it
          arm(ready)
          found = @poller.wait(ready.empty? ? left : 0) or return ready
          ready.concat(take(found))
          return ready if ready.any?

          left = timeout && (timeout - (now - start))
          return if left && left <= 0
        end
      ensure
        # Not before, as they would be found again.
        @changed.concat(ready) if ready
      end

      # Those that are ready of what the poller has found; the others are to be armed again.
      def take(found)
        ready, others = found.each_slice(2).partition { |watch, events| watch.found(events) }
        @changed.concat(others.map(&:first))
        ready.map(&:first)
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
