# frozen_string_literal: true

module UringIO
  # What Async's scheduler rests on: the contract of IO::Event::Selector, on io_uring, epoll, poll
  # or select.
  #
  #   selector = UringIO::Selector.new(Fiber.current)
  #   Fiber.new { selector.io_wait(Fiber.current, socket, IO::READABLE) }.transfer
  #   selector.select(nil)
  #
  # A selector belongs to the thread that made it and to its loop fiber, the only one that may call
  # #select. All methods but #push, #wakeup, #ready?, #loop, #backend, #idle_duration, #io_close and #closed? raise
  # ThreadError on other threads.
  # What Async calls often is native (ext/uring_io/src/classes/selector.rs).
  #
  # Programs that use Async need not name it: see uring_io/async.
  class Selector
    include ProcessWait

    # @!method initialize(loop, **options)
    #   @param loop [Fiber] the fiber that calls #select
    #   @param options [Hash]
    #   @option options [Symbol, nil] :backend (nil) :io_uring, :epoll, :kqueue, :poll or :select; URING_IO_BACKEND
    #     or else the best that works when nil
    #   @option options [Integer] :entries (1024) size of the submission queue
    #   @option options [Boolean] :sqpoll (false) as for Ring.new
    #   @option options [Numeric] :sqpoll_idle (1) as for Ring.new
    #   @option options [Integer, nil] :sqpoll_cpu (nil) as for Ring.new
    #   @option options [Integer] :workers (8) most threads for file operations on backends other than io_uring
    #   @option options [Boolean] :restrict (false) as for Scheduler.new
    #   @raise [UnsupportedError] when the backend that was asked for cannot be used here

    # @!method loop
    #   @return [Fiber] that calls #select

    # @!method backend
    #   @return [Symbol] :io_uring, :epoll, :kqueue, :poll or :select

    # @!method close
    #   Cancels what is in flight, waits for its end and gives the backend back. Repeatable.
    #   @return [nil]

    # @!method closed?
    #   Any thread may ask.
    #   @return [Boolean] whether it was closed, or was made by the process that forked this one

    # @!method ready?
    #   Any thread may ask.
    #   @return [Boolean] whether something is to run at the next #select

    # @!method idle_duration
    #   @return [Float] seconds that the last #select waited

    # @!method push(fiber)
    #   Has a fiber, or what acts like one, run at the next #select. From any thread; it raises nothing.
    #   @param fiber [Fiber, #alive?, #transfer]
    #   @return [nil]

    # @!method wakeup
    #   Ends a #select that waits. From any thread; it raises nothing.
    #   @return [Boolean] whether one did

    # @!method transfer
    #   Goes to the loop fiber.
    #   @return [Object] what the fiber is transferred to with; nil in the loop fiber

    # @!method yield
    #   Goes to the loop fiber, and on at the next #select.
    #   @return [Object] as #transfer

    # @!method resume(fiber, *arguments)
    #   Goes to another fiber, and on at the next #select.
    #   @param fiber [Fiber]
    #   @return [Object] as #transfer

    # @!method raise(fiber, *arguments)
    #   Raises in another fiber, and goes on at the next #select.
    #   @param fiber [Fiber]
    #   @param arguments [Array] of Fiber#raise
    #   @return [Object] as #transfer

    # @!method select(duration = nil)
    #   Runs what is ready, and waits for events when nothing is.
    #   @param duration [Numeric, nil] the most seconds to wait; nil for as long as it takes
    #   @return [Integer] the number of events
    #   @raise [FiberError] in another fiber than the loop's

    # @!method io_wait(fiber, io, events)
    #   Waits until an IO is ready.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param events [Integer] a sum of IO::READABLE, IO::PRIORITY and IO::WRITABLE
    #   @return [Integer, false] what it is ready for; false when control came back without an event
    #   @raise [ArgumentError] when the fiber is not the one that calls

    # @!method io_read(fiber, io, buffer, length, offset = 0)
    #   As Scheduler#io_read. An IO's own timeout is for whoever runs the loop.
    #   A length that goes beyond the buffer is cut to what fits; an offset behind its end is -EINVAL.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave alone
    #   @return [Integer] bytes read, 0 at the end; or a negative errno

    # @!method io_write(fiber, io, buffer, length, offset = 0)
    #   As Scheduler#io_write. An IO's own timeout is for whoever runs the loop.
    #   A length that goes beyond the buffer's end is cut; one of more than the whole buffer, or an offset behind its
    #   end, is -EINVAL.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave out
    #   @return [Integer] bytes written; or a negative errno

    # @!method io_pread(fiber, io, buffer, from, length, offset)
    #   As Scheduler#io_pread.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param from [Integer] position in the file, in bytes
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave alone
    #   @return [Integer] bytes read, 0 at the end; or a negative errno

    # @!method io_pwrite(fiber, io, buffer, from, length, offset)
    #   As Scheduler#io_pwrite, on every Ruby.
    #   @param fiber [Fiber] the current one
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param from [Integer] position in the file, in bytes
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave out
    #   @return [Integer] bytes written; or a negative errno

    # @!method io_close(descriptor)
    #   Closes a descriptor that Ruby has taken from an IO. It does not wait.
    #   @param descriptor [Integer]
    #   @return [true]

    # Waits for a child process, with the flags of Process.wait.
    # @param fiber [Fiber] the current one
    # @param pid [Integer] as for Scheduler#process_wait
    # @param flags [Integer] of Process.wait
    # @return [Process::Status] with pid -1 and the errno when there is no such child
    def process_wait(fiber, pid, flags)
      check_usable(fiber)
      return Process::Status.wait(pid, flags) if at_home?

      wait_for_status(pid, flags)
    end

    # @!parse
    #   # A selector on io_uring: as Selector.new(loop, backend: :io_uring).
    #   class URing < Selector; end
    #   # A selector on epoll: as Selector.new(loop, backend: :epoll).
    #   class EPoll < Selector; end
    #   # A selector on kqueue: as Selector.new(loop, backend: :kqueue).
    #   class KQueue < Selector; end
    #   # A selector on poll: as Selector.new(loop, backend: :poll).
    #   class Poll < Selector; end
    #   # A selector on select: as Selector.new(loop, backend: :select).
    #   class Select < Selector; end
    { URing: :io_uring, EPoll: :epoll, KQueue: :kqueue, Poll: :poll, Select: :select }.each do |name, backend|
      selector = Class.new(self) do
        # Not define_method: its block would be of the Ractor that loads this.
        class_eval <<~RUBY, __FILE__, __LINE__ + 1
          def initialize(loop, **options) = super(loop, backend: :#{backend}, **options) # backend: :poll
        RUBY
      end
      const_set(name, selector)
    end
  end
end
