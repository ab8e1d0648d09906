# frozen_string_literal: true

require "uring_io"

module UringIO
  class Selector
    # Wraps any selector that follows io-event's contract, and checks how the program uses it. It is for development,
    # because it makes each call slower.
    #
    #   selector = UringIO::Selector::Checked.new(UringIO::Selector.new(Fiber.current))
    #
    # It raises
    #
    # - ThreadError for a call on another thread, except #push, #wakeup, #ready?, #loop and #closed?
    # - ArgumentError when a fiber waits in the name of another one
    # - FiberError when a fiber other than the loop fiber calls #select, or when #select runs within itself
    # - ClosedError after #close, and in a child made by fork
    # - TypeError for #push of an object that #select cannot resume
    #
    # It has those optional methods of selectors (#io_pread, #io_close, ...) that the wrapped selector has.
    class Checked
      # Methods whose first argument is the fiber that calls them.
      BY_FIBER = %i[io_wait io_read io_write io_pread io_pwrite process_wait futex_wait futex_waitv].freeze
      private_constant :BY_FIBER

      # @param selector [Object] a selector of this thread
      def initialize(selector)
        @selector = selector
        @thread = Thread.current
        @selecting = false
      end

      # @return [Fiber] the fiber that calls #select
      def loop = @selector.loop

      # @return [Boolean] whether it was closed, or was made by another process
      def closed? = @selector.closed?

      # @return [Boolean] whether the next #select has a fiber to run
      def ready?
        check_open
        @selector.ready?
      end

      # Ends a #select that waits. Any thread may call it.
      # @return [Boolean] whether a #select was waiting
      def wakeup
        check_open
        @selector.wakeup
      end

      # Makes the next #select run the fiber, or an object like one. Any thread may call it.
      def push(fiber)
        check_open
        check_resumable(fiber)
        @selector.push(fiber)
      end

      # Switches to the loop fiber.
      def transfer
        check
        @selector.transfer
      end

      # Switches to the loop fiber. The next #select switches back.
      def yield
        check
        @selector.yield
      end

      # Switches to the fiber. The next #select switches back.
      def resume(fiber, *)
        check
        check_resumable(fiber)
        @selector.resume(fiber, *)
      end

      # Raises an exception in the fiber. The next #select switches back.
      def raise(fiber, ...)
        check
        @selector.raise(fiber, ...)
      end

      # Runs the fibers that are ready, and waits for events when there are none.
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

      # @return [Float] how many seconds the last #select waited
      def idle_duration
        check_thread
        @selector.idle_duration
      end

      # Closes the selector. Repeatable.
      def close
        check_thread
        @selector.close
      end

      # @return [Boolean]
      def respond_to_missing?(name, include_all = false)
        @selector.respond_to?(name, include_all) || super
      end

      # Calls the selector's own method, for all methods that are not defined here.
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

      # Without this check a later #select would fail, far from the #push that caused it.
      def check_resumable(fiber)
        return if fiber.respond_to?(:transfer) && fiber.respond_to?(:alive?)

        fail_with TypeError, "#{fiber.inspect} cannot be resumed: it needs transfer and alive?"
      end

      # The method #raise of this class hides that of Kernel.
      def fail_with(...) = ::Kernel.raise(...)
    end
  end
end
