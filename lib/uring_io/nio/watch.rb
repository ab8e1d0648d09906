# frozen_string_literal: true

require_relative "../core_ext/nio_close"

module UringIO
  # See nio/selector.rb.
  module NIO
    # A selector's view of a monitor's descriptor. A caller needs the selector's lock, except to change the interest and
    # to end the watch: any thread may do that.
    # @api private
    class Watch
      # The events of each interest, by its name.
      EVENTS = { r: IO::READABLE, w: IO::WRITABLE, rw: IO::READABLE | IO::WRITABLE }.freeze
      # The other way round.
      NAMES = EVENTS.invert.freeze

      # @return [Monitor, nil] nil when the watch is over
      attr_reader :monitor
      # @return [Integer] the events that are waited for
      attr_accessor :interest
      # @return [Integer] those of them that were there when it was last found ready
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
        @number = nil # the poller's, while it is armed
        @armed_for = 0
        @by_set = false
        @dead = false
        watches_of(@io)[self] = true
      end

      # @return [Boolean] whether what was found is still asked for
      def ready?
        !@monitor.nil? && (@readiness & @interest).positive?
      end

      # Makes the poller report when the descriptor is ready, unless it is about to do so already.
      # @return [Boolean] whether it is ready. A descriptor that the poller cannot wait for counts as ready: the
      #   program's next call on it tells why
      def arm
        return false if @monitor.nil? || @dead || (@number && @armed_for == @interest)

        release
        return false if @interest.zero?

        @dead = @io.closed? and return false

        # These statements come without a branch between them: Ruby may raise an exception from outside at a branch.
        @armed_for = @interest
        @number = @poller.arm(self, @descriptor, @armed_for, @by_set)
        @number.negative? && found(@number)
      end

      # Takes a report of the poller, which has to arm the watch again afterwards.
      # @param events [Integer, nil] as of Poller#wait
      # @return [Boolean] whether it is ready
      def found(events)
        @number = nil
        return fail_with(events) if events&.negative?

        @by_set ||= events.nil?
        events = @monitor && !@io.closed? ? events.to_i & @interest : 0
        @readiness = events if events.positive?
        events.positive?
      end

      # The poller has forgotten it.
      # @return [void]
      def forgotten
        @number = nil
      end

      # Makes the poller let go of the file. io_uring keeps a file open while its watch is armed, so that the peer would
      # see no end. Any thread may call it.
      # @return [void]
      def release
        number = @number or return
        @number = nil
        @poller.release(number, self)
      end

      # The IO is about to be closed. Any thread may call it.
      # @return [void]
      def closing
        @dead = true
        release
      end

      # The IO may have another file by now, or its descriptor may be gone. Any thread may call it.
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

      # Weak, as an IO may outlive selectors that nobody closed.
      def watches_of(io)
        io.instance_variable_get(WATCHES) || io.instance_variable_set(WATCHES, ObjectSpace::WeakMap.new)
      end

      # Reports a descriptor that does not exist once, and a closed IO never.
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
