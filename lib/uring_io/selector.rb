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
  # #select. All methods but #push, #wakeup, #ready? and #closed? raise ThreadError on other threads.
  # What Async calls often is native (ext/uring_io/src/selector.rs).
  #
  # Programs that use Async need not name it: see uring_io/async.
  class Selector
    include ProcessWait

    # @!method initialize(loop, backend: nil, entries: 1024, sqpoll: false, sqpoll_idle: 1, sqpoll_cpu: nil,
    #   workers: nil, restrict: false)
    #   @param loop [Fiber] the fiber that calls #select
    #   @param backend [Symbol, nil] :io_uring, :epoll, :poll or :select; URING_IO_BACKEND or else the
    #     best that works when nil
    #   @param entries [Integer] size of the submission queue
    #   @param workers [Integer] most threads for file operations on backends other than io_uring
    #   @param restrict [Boolean] as for Scheduler.new
    #   @raise [UnsupportedError] when the backend that was asked for cannot be used here

    # Waits for a child process, with the flags of Process.wait.
    # @param fiber [Fiber] the current one
    # @return [Process::Status] with pid -1 and the errno when there is no such child
    def process_wait(fiber, pid, flags)
      check_usable(fiber)
      return Process::Status.wait(pid, flags) if at_home?

      wait_for_status(pid, flags)
    end

    { URing: :io_uring, EPoll: :epoll, Poll: :poll, Select: :select }.each do |name, backend|
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
