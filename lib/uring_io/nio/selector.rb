# frozen_string_literal: true

require_relative "../../uring_io"
require_relative "monitor"

module UringIO
  # +require "uring_io/nio"+ gives programs on nio4r, such as Puma's reactor, the selector of this module.
  module NIO
    # Waits for many IOs at once. It follows the contract of NIO::Selector, on io_uring, epoll, poll or select.
    #
    #   require "uring_io/nio/selector"
    #   selector = UringIO::NIO::Selector.new
    #   selector.register(peer, :r).value = "what belongs to it"
    #   socket.write("hello")
    #   selector.select { |monitor| puts monitor.value, monitor.io.readpartial(10) }
    #
    # Any thread may call #select, one thread at a time. Any thread may call #wakeup at any time. In other threads,
    # #register, #deregister, #close and Monitor#close wait until the running #select has returned, as those of nio4r
    # do. Within the block of #select they do not wait.
    #
    # The selector reports an IO again and again as long as it is ready. It does not report a closed IO, which stays
    # registered until #deregister. After a fork, the child has copies of its parent's selectors, with all registered
    # IOs, for its own use.
    class Selector
      # @param backend [Symbol, nil] :io_uring, :epoll, :kqueue, :poll or :select; nil for the one that URING_IO_BACKEND
      #   names, or else the best that works
      # @raise [UnsupportedError] when this machine lacks the backend
      def initialize(backend: nil)
        @poller = Poller.new(backend:)
        @monitors = {}
        # Watches to arm before the next wait, except those that are armed already, or over.
        @changed = []
        # Reports of the poller for #take. Here they outlive an exception from another thread that comes before #take
        # has handled them.
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

      # Begins to watch an IO.
      # @param io [IO, #to_io]
      # @param interests [Symbol] :r, :w or :rw
      # @return [Monitor]
      # @raise [ArgumentError] when the IO is registered already, or for unknown interests
      # @raise [IOError] when the selector or the IO is closed
      # @raise [UnsupportedError] when the backend is :select and the descriptor is above 1023
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

      # Stops watching an IO. The IO and the selector may be closed already.
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

      # Waits for an event that a monitor is interested in, for a #wakeup, or until the timeout passes. A #wakeup from
      # before the call counts, too.
      # @param timeout [Numeric, nil] seconds; nil for no limit
      # @yieldparam monitor [Monitor] each ready monitor; the selector is locked meanwhile. After an exception or break,
      #   the next #select reports the other monitors again
      # @return [Array<Monitor>] the ready monitors: none after a #wakeup
      # @return [Integer] with a block, the number of ready monitors
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

      # Ends the running #select, or else the next one. Any thread may call it, also in a trap handler.
      # @return [nil]
      # @raise [IOError] when the selector is closed
      def wakeup
        check_open
        @poller.wakeup
      end

      # Ends the running #select, and closes the selector. Repeatable.
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

      # Makes #select arm a watch before its next wait.
      # @return [void]
      # @api private
      def changed(watch)
        @changed << watch
      end

      private

      def check_open
        raise IOError, "selector is closed" if @closed
      end

      # Runs the block in one thread at a time. That thread may call the method again in the block.
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

      # Makes #select arm all watches again: in another thread or a forked child, the poller begins without any.
      def forget(polls)
        watches = @monitors.each_value.map(&:watch)
        watches.each(&:forgotten)
        @changed.concat(watches)
        @polls = polls
      end

      # Returns the watches that are ready; none after a wakeup, nil when the timeout passed.
      def ready_within(timeout)
        ready = []
        start = now
        # Reports that are left after an exception may be out of date: arm their watches again instead.
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
        # Not earlier: the loop above would arm these watches again.
        @changed.concat(ready)
      end

      # Adds the watches that the poller has found ready to +ready+, and lets #arm arm the others again.
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
