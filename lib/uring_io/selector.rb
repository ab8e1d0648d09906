# frozen_string_literal: true

module UringIO
  # A selector for Async's scheduler, on io_uring, epoll, poll or select. It follows the contract of
  # IO::Event::Selector.
  #
  #   selector = UringIO::Selector.new(Fiber.current)
  #   Fiber.new { selector.io_wait(Fiber.current, socket, IO::READABLE) }.transfer
  #   selector.select(nil)
  #
  # A selector belongs to the thread that made it and to its loop fiber, the only one that may call #select. All methods
  # except #push, #wakeup, #ready?, #loop, #backend, #idle_duration, #io_close and #closed? raise ThreadError on other
  # threads. The methods that Async calls often are native (ext/uring_io/src/classes/selector.rs).
  #
  # Programs that use Async do not name this class: uring_io/async makes Async use it.
  class Selector
    include ProcessWait

    # @!method initialize(loop, **options)
    #   @param loop [Fiber] the fiber that calls #select
    #   @param options [Hash]
    #   @option options [Symbol, nil] :backend (nil) :io_uring, :epoll, :kqueue, :poll or :select; nil for the one that
    #     URING_IO_BACKEND names, or else the best that works
    #   @option options [Integer] :entries (1024) size of the submission queue
    #   @option options [Boolean] :sqpoll (false) as for Ring.new
    #   @option options [Numeric] :sqpoll_idle (1) as for Ring.new
    #   @option options [Integer, nil] :sqpoll_cpu (nil) as for Ring.new
    #   @option options [Integer] :workers (8) the most threads for file operations on backends other than io_uring
    #   @option options [Boolean] :restrict (false) as for Scheduler.new
    #   @raise [UnsupportedError] when this machine lacks the backend

    # @!method loop
    #   @return [Fiber] the fiber that calls #select

    # @!method backend
    #   @return [Symbol] :io_uring, :epoll, :kqueue, :poll or :select

    # @!method close
    #   Cancels the operations in flight, waits until they are over and frees the backend. Repeatable.
    #   @return [nil]

    # @!method closed?
    #   Any thread may call it.
    #   @return [Boolean] true after #close, and in a forked child for a selector of its parent

    # @!method ready?
    #   Any thread may call it.
    #   @return [Boolean] whether the next #select has a fiber to run

    # @!method idle_duration
    #   @return [Float] how many seconds the last #select waited

    # @!method push(fiber)
    #   Makes the next #select run a fiber, or an object like one. Any thread may call it; it raises nothing.
    #   @param fiber [Fiber, #alive?, #transfer]
    #   @return [nil]

    # @!method wakeup
    #   Ends a #select that waits. Any thread may call it; it raises nothing.
    #   @return [Boolean] whether a #select was waiting

    # @!method transfer
    #   Switches to the loop fiber.
    #   @return [Object] the argument of the switch back to this fiber; nil in the loop fiber

    # @!method yield
    #   Switches to the loop fiber. The next #select switches back.
    #   @return [Object] as for #transfer

    # @!method resume(fiber, *arguments)
    #   Switches to another fiber. The next #select switches back.
    #   @param fiber [Fiber]
    #   @return [Object] as for #transfer

    # @!method raise(fiber, *arguments)
    #   Raises an exception in another fiber. The next #select switches back.
    #   @param fiber [Fiber]
    #   @param arguments [Array] the arguments of Fiber#raise
    #   @return [Object] as for #transfer

    # @!method select(duration = nil)
    #   Runs the fibers that are ready, and waits for events when there are none.
    #   @param duration [Numeric, nil] the most seconds to wait; nil for no limit
    #   @return [Integer] the number of events
    #   @raise [FiberError] in any fiber except the loop fiber

    # @!method io_wait(fiber, io, events)
    #   Waits until an IO is ready.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param events [Integer] a sum of IO::READABLE, IO::PRIORITY and IO::WRITABLE
    #   @return [Integer, false] the events that are there; false when the fiber goes on without one
    #   @raise [ArgumentError] when +fiber+ is not the current fiber

    # @!method io_read(fiber, io, buffer, length, offset = 0)
    #   Like Scheduler#io_read, but it ignores the IO's own timeout: the program that runs the loop handles that. It
    #   shortens a length that goes beyond the buffer's end, and returns -EINVAL for an offset behind that end.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes at the buffer's beginning to skip
    #   @return [Integer] bytes read, 0 at the end; or a negative errno

    # @!method io_write(fiber, io, buffer, length, offset = 0)
    #   Like Scheduler#io_write, but it ignores the IO's own timeout: the program that runs the loop handles that. It
    #   shortens a length that goes beyond the buffer's end. It returns -EINVAL for a length above the buffer's size and
    #   for an offset behind the buffer's end.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes at the buffer's beginning to skip
    #   @return [Integer] bytes written; or a negative errno

    # @!method io_pread(fiber, io, buffer, from, length, offset)
    #   Like Scheduler#io_pread.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param from [Integer] position in the file, in bytes
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes at the buffer's beginning to skip
    #   @return [Integer] bytes read, 0 at the end; or a negative errno

    # @!method io_pwrite(fiber, io, buffer, from, length, offset)
    #   Like Scheduler#io_pwrite, but on every Ruby.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param from [Integer] position in the file, in bytes
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes at the buffer's beginning to skip
    #   @return [Integer] bytes written; or a negative errno

    # @!method io_close(descriptor)
    #   Closes a descriptor that Ruby has taken from an IO. It does not wait.
    #   @param descriptor [Integer]
    #   @return [true]

    # Waits for a child process, with the flags of Process.wait.
    # @param fiber [Fiber] the current one
    # @param pid [Integer] as for Scheduler#process_wait
    # @param flags [Integer] the flags of Process.wait
    # @return [Process::Status] with pid -1 and the errno when there is no such child
    def process_wait(fiber, pid, flags)
      check_usable(fiber)
      return Process::Status.wait(pid, flags) if at_home?

      wait_for_status(pid, flags)
    end

    # @!parse
    #   # A selector on io_uring, like Selector.new(loop, backend: :io_uring).
    #   class URing < Selector; end
    #   # A selector on epoll, like Selector.new(loop, backend: :epoll).
    #   class EPoll < Selector; end
    #   # A selector on kqueue, like Selector.new(loop, backend: :kqueue).
    #   class KQueue < Selector; end
    #   # A selector on poll, like Selector.new(loop, backend: :poll).
    #   class Poll < Selector; end
    #   # A selector on select, like Selector.new(loop, backend: :select).
    #   class Select < Selector; end
    { URing: :io_uring, EPoll: :epoll, KQueue: :kqueue, Poll: :poll, Select: :select }.each do |name, backend|
      selector = Class.new(self) do
        # Not define_method: other Ractors cannot call a method whose block belongs to the Ractor that loads this file.
        class_eval <<~RUBY, __FILE__, __LINE__ + 1
          def initialize(loop, **options) = super(loop, backend: :#{backend}, **options) # backend: :poll
        RUBY
      end
      const_set(name, selector)
    end
  end
end
