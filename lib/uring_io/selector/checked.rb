# frozen_string_literal: true

require "uring_io"

module UringIO
  class Selector
    # Any selector that follows io-event's contract, watched for wrong use. For development: each call costs more.
    #
    #   selector = UringIO::Selector::Checked.new(UringIO::Selector.new(Fiber.current))
    #
    # It raises ThreadError for a call from another thread than the one that made it, but for #push, #wakeup, #ready?,
    # #loop and #closed?; ArgumentError when a fiber waits in the name of another one; FiberError when #select is called
    # by another fiber than the loop's, or within itself; ClosedError after #close, and in a child made by fork;
    # TypeError when something is pushed that cannot be resumed.
    #
    # What a selector may have or not (#io_pread, #io_close, ...) is there when the one inside has it.
    class Checked
      # Methods whose first argument is the fiber that calls them.
      BY_FIBER = %i[io_wait io_read io_write io_pread io_pwrite process_wait futex_wait futex_waitv].freeze
      private_constant :BY_FIBER

      # @param selector [Object] of this thread
      def initialize(selector)
        @selector = selector
        @thread = Thread.current
        @selecting = false
      end

      # @return [Fiber] that calls #select
      def loop = @selector.loop

      # @return [Boolean] whether it was closed, or was made by another process
      def closed? = @selector.closed?

      # @return [Boolean] whether something is to run at the next #select
      def ready?
        check_open
        @selector.ready?
      end

      # Ends a #select that waits. From any thread.
      # @return [Boolean] whether one did
      def wakeup
        check_open
        @selector.wakeup
      end

      # Has the fiber, or what acts like one, run at the next #select. From any thread.
      def push(fiber)
        check_open
        check_resumable(fiber)
        @selector.push(fiber)
      end

      # Goes to the loop fiber.
      def transfer
        check
        @selector.transfer
      end

      # Goes to the loop fiber, and on at the next #select.
      def yield
        check
        @selector.yield
      end

      # Goes to the fiber, and on at the next #select.
      def resume(fiber, *)
        check
        check_resumable(fiber)
        @selector.resume(fiber, *)
      end

      # Raises in the fiber, and goes on at the next #select.
      def raise(fiber, ...)
        check
        @selector.raise(fiber, ...)
      end

      # Runs what is ready, and waits for events when nothing is.
      # @param duration [Numeric, nil] the most seconds to wait
      # @return [Integer] the number of events
      def select(duration = nil)
        check
        fail_with FiberError, "select is for the loop fiber, not for #{Fiber.current}" unless Fiber.current.equal?(loop)
        fail_with FiberError, "select is called within itself" if @selecting

        begin
          @selecting = true
          @selector.select(duration)
        ensure
          @selecting = false
        end
      end

      # @return [Float] seconds that the last #select waited
      def idle_duration
        check_thread
        @selector.idle_duration
      end

      # Repeatable.
      def close
        check_thread
        @selector.close
      end

      # @return [Boolean]
      def respond_to_missing?(name, include_all = false)
        @selector.respond_to?(name, include_all) || super
      end

      # The rest, as far as the selector has it.
      def method_missing(name, *arguments, **, &)
        return super unless @selector.respond_to?(name)

        check
        check_own(name, arguments.first) if BY_FIBER.include?(name)
        @selector.public_send(name, *arguments, **, &)
      end

      # @return [String]
      def inspect = "#<#{self.class} #{@selector.inspect}>"

      private

      def check
        check_open
        check_thread
      end

      def check_open
        fail_with ClosedError, "the selector is closed, or was made by another process" if @selector.closed?
      end

      def check_thread
        return if Thread.current.equal?(@thread)

        fail_with ThreadError, "the selector belongs to #{@thread}, this is #{Thread.current}"
      end

      def check_own(name, fiber)
        return if fiber.equal?(Fiber.current)

        fail_with ArgumentError, "#{name} is called for #{fiber.inspect} by #{Fiber.current}"
      end

      # What cannot be resumed would be found out by a select that has nothing to do with it.
      def check_resumable(fiber)
        return if fiber.respond_to?(:transfer) && fiber.respond_to?(:alive?)

        fail_with TypeError, "#{fiber.inspect} cannot be resumed: it needs transfer and alive?"
      end

      # The selector's own method hides Ruby's.
      def fail_with(...) = ::Kernel.raise(...)
    end
  end
end
