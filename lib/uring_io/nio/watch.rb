# frozen_string_literal: true

require_relative "../core_ext/nio_close"

module UringIO
  module NIO
    # A poll of a monitor's descriptor, which the selector arms again after each event. Callers need the selector's
    # lock, but any thread may change the interest, end the watch, and call the methods that say so.
    # @api private
    class Watch
      # The events of each interest, by its name.
      EVENTS = { r: IO::READABLE, w: IO::WRITABLE, rw: IO::READABLE | IO::WRITABLE }.freeze
      # The name of each interest, by its events.
      NAMES = EVENTS.invert.freeze

      # @return [Monitor, nil] nil when the watch is over
      attr_reader :monitor
      # @return [Integer] the events that the selector waits for
      attr_accessor :interest
      # @return [Integer] the events of the interest that were there when the watch was last ready
      attr_reader :readiness

      # @param io [IO, #to_io]
      # @param interest [Integer]
      # @param monitor [Monitor]
      # @param poller [Poller]
      def initialize(io, interest, monitor, poller)
        @io = IO.try_convert(io) or raise TypeError, "no implicit conversion of #{io.class} into IO"
        @descriptor = @io.fileno
        poller.check(@descriptor)
        @interest = interest
        @monitor = monitor
        @poller = poller
        @readiness = 0
        @number = nil # the poller's number for the watch, while it is armed
        @armed_for = 0
        @by_set = false
        @dead = false
        watches_of(@io)[self] = true
      end

      # @return [Boolean] whether an event that was there still belongs to the interest
      def ready?
        !@monitor.nil? && (@readiness & @interest).positive?
      end

      # Makes the poller report when the descriptor is ready, unless the watch is armed for that already.
      # @return [Boolean] whether the watch is ready at once: when the poller cannot wait for the descriptor. The
      #   program's next call on the descriptor then raises the reason
      def arm
        return false if @monitor.nil? || @dead || (@number && @armed_for == @interest)

        release
        return false if @interest.zero?

        @dead = @io.closed? and return false

        # Ruby may raise an exception from another thread at a branch. So no branch comes between these statements.
        @armed_for = @interest
        @number = @poller.arm(self, @descriptor, @armed_for, @by_set)
        @number.negative? && found(@number)
      end

      # Takes a report of the poller. After that the watch is no longer armed.
      # @param events [Integer, nil] as Poller#wait reports them
      # @return [Boolean] whether the watch is ready
      def found(events)
        @number = nil
        return fail_with(events) if events&.negative?

        @by_set ||= events.nil?
        events = @monitor && !@io.closed? ? events.to_i & @interest : 0
        @readiness = events if events.positive?
        events.positive?
      end

      # The poller has forgotten the watch.
      # @return [void]
      def forgotten
        @number = nil
      end

      # Makes the poller let go of the file. io_uring keeps a file open while its watch is armed, so after a close the
      # peer would not see the end of the connection. Any thread may call it.
      # @return [void]
      def release
        number = @number or return
        @number = nil
        @poller.release(number, self)
      end

      # Stops the watch for good, because the IO is about to close. Any thread may call it.
      # @return [void]
      def closing
        @dead = true
        release
      end

      # Arms the watch again for the file that the IO has now, if its descriptor is the same. Any thread may call it.
      # @return [void]
      def changed
        @dead = @io.closed? || @io.fileno != @descriptor
        @monitor&.selector&.changed(self)
      end

      # @return [void]
      def end
        @monitor = nil
        watches_of(@io).delete(self)
        release
      end

      private

      # The references are weak, because an IO may outlive selectors that nobody closed.
      def watches_of(io)
        io.instance_variable_get(WATCHES) || io.instance_variable_set(WATCHES, ObjectSpace::WeakMap.new)
      end

      # Reports a descriptor that does not exist once, and never reports a closed IO.
      def fail_with(errno)
        @dead = errno == -Errno::EBADF::Errno
        return false if @monitor.nil? || @io.closed?

        @readiness = @interest
        @readiness.positive?
      end

      WATCHES = :@uring_io_watches
      private_constant :WATCHES
    end

    private_constant :Watch
  end
end
