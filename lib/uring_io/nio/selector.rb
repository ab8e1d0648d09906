# frozen_string_literal: true

require_relative "../../uring_io"
require_relative "monitor"

module UringIO
  # +require "uring_io/nio"+ gives programs on nio4r, such as Puma's reactor, the selector of this module.
  module NIO
    # Waits for many IOs at once: the contract of NIO::Selector, on io_uring, epoll, poll or select.
    #
    #   require "uring_io/nio/selector"
    #   selector = UringIO::NIO::Selector.new
    #   selector.register(peer, :r).value = "what belongs to it"
    #   socket.write("hello")
    #   selector.select { |monitor| puts monitor.value, monitor.io.readpartial(10) }
    #
    # Any thread may select, one at a time. Any thread may call #wakeup at any time. In other threads #register,
    # #deregister, #close and Monitor#close wait until the running #select has returned, as those of nio4r do. Within
    # the block of #select they do not wait.
    #
    # The selector reports an IO as long as it is ready. It does not report a closed IO, which stays registered until
    # #deregister. After a fork the child has the selectors of its parent, with all registered IOs, as its own.
    class Selector
      # @param backend [Symbol, nil] :io_uring, :epoll, :kqueue, :poll or :select; URING_IO_BACKEND or else the best
      #   that works when nil
      # @raise [UnsupportedError] when this machine lacks the backend
      def initialize(backend: nil)
        @poller = Poller.new(backend:)
        @monitors = {}
        # Watches that the next turn looks at: it arms those that are neither armed already nor over.
        @changed = []
        # The poller's reports that #take has not looked at yet: they outlive an exception from outside that comes
        # before it does.
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
      # @raise [ArgumentError] when the IO is registered already, or for unknown interests
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

      # Ends waiting for an IO. The IO and the selector may be closed.
      # @param io [IO, #to_io] the object that the program registered
      # @return [Monitor, nil] the monitor, closed; nil when the IO is not registered
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

      # Waits until an event comes that a monitor is interested in, until a #wakeup, or until the timeout passes. An
      # earlier #wakeup counts, too.
      # @param timeout [Numeric, nil] seconds; nil for no limit
      # @yieldparam monitor [Monitor] one after the other, while the selector is locked. After an exception or break the
      #   next #select reports the other monitors again
      # @return [Array<Monitor>] the monitors that are ready: none after a #wakeup
      # @return [Integer] with a block, their number
      # @return [nil] when the timeout passed
      # @raise [IOError] when the selector is closed
      def select(timeout = nil)
        exclusively do
          check_open
          ready = attached { ready_within(timeout) }
          next ready&.filter_map(&:monitor) unless ready && block_given?

          ready.count { |watch| watch.ready? && (yield(watch.monitor) || true) }
        end
      end

      # Ends the #select that runs, or else the next one. Any thread may call it, also in a trap handler.
      # @return [nil]
      # @raise [IOError] when the selector is closed
      def wakeup
        check_open
        @poller.wakeup
      end

      # Ends the #select that runs, and closes the selector. Repeatable.
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

      # Makes the next turn arm a watch.
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

      # In another thread, or in a child by fork, the poller has no armed watches.
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
        # Reports that an exception kept from being looked at may be out of date.
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
        # Not earlier: the next turn of this loop would find them again.
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
