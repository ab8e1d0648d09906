# frozen_string_literal: true

module UringIO
  # A complete Fiber::Scheduler on io_uring, epoll, poll or select.
  #
  #   Fiber.set_scheduler(UringIO::Scheduler.new)
  #   Fiber.schedule { Net::HTTP.get(uri) }
  #
  # A scheduler belongs to the thread that first starts a fiber with it or calls one of its hooks. From then on its
  # methods raise ThreadError on other threads, except #unblock, #fiber_interrupt, #io_close, #fibers_waiting, #trace,
  # #backend and #closed?. After #close the other hooks raise ClosedError. Durations are in seconds, sizes in bytes.
  # The hooks that programs call often are native (ext/uring_io/src/classes/scheduler/mod.rs); this file has the rest.
  class Scheduler
    include ProcessWait

    # @!method initialize(**options)
    #   @param options [Hash]
    #   @option options [Symbol, nil] :backend (nil) :io_uring, :epoll, :kqueue, :poll or :select; URING_IO_BACKEND
    #     or else the best that works when nil
    #   @option options [Integer] :entries (1024) size of the submission queue, 1 to 32768
    #   @option options [Boolean] :sqpoll (false) whether a thread of the kernel polls that queue, as for Ring.new
    #   @option options [Numeric] :sqpoll_idle (1) as for Ring.new, in seconds
    #   @option options [Integer, nil] :sqpoll_cpu (nil) as for Ring.new
    #   @option options [Integer, nil] :workers (nil) the most threads that do blocking work, 1 to 1024; each
    #     IO.copy_stream has one more. With a number the scheduler includes BlockingOperations.
    #   @option options [Boolean] :restrict (false) whether the kernel refuses every operation that the scheduler does
    #     not submit itself (Linux 5.10). It limits the harm of mistakes and of overwritten memory. In the fibers of
    #     such a scheduler a Ring can read, write, receive, send, poll and wait for children. Its other calls, chains
    #     and registered buffers raise UnsupportedError. Other backends have no ring, so they ignore the option.
    #   @raise [UnsupportedError] when this machine lacks the backend or an option. Without a backend: the scheduler
    #     uses epoll where restrict: is given and the kernel cannot restrict a ring.
    #   @raise [ArgumentError] for an unknown backend, or a number out of its range

    # @!method backend
    #   Any thread may call it, also after #close.
    #   @return [Symbol] :io_uring, :epoll, :kqueue, :poll or :select

    # @!method closed?
    #   Any thread may call it.
    #   @return [Boolean] whether it was closed, or belongs to the process that forked this one

    # @!method run
    #   Runs every scheduled fiber to its end. Programs seldom need it: Ruby does the same when the thread ends, and so
    #   does UringIO.run.
    #   @return [nil]
    #   @raise [FiberError] in a fiber of this scheduler

    # @!method stats
    #   Counts since the scheduler was made: +enters+ (system calls that submit or wait), +submissions+ (operations
    #   that the backend got), +completions+ (operations that are over), +direct_calls+ (other system calls for
    #   operations), +switches+ (from fiber to fiber), +waiting_seconds+ (in the kernel) and +running_seconds+ (the
    #   rest of the time).
    #   @return [Hash{Symbol => Integer, Float}]

    # @!group Hooks, called by Ruby

    # @!method fiber(*arguments, **keywords, &block)
    #   Fiber.schedule: starts a fiber and runs it until it waits (scheduler.c, rb_fiber_scheduler_fiber).
    #   @return [Fiber]
    #   @raise [ArgumentError] without a block

    # @!method block(blocker, timeout)
    #   Waits for #unblock. Mutex, Queue, ConditionVariable and Thread#join call it (scheduler.c,
    #   rb_fiber_scheduler_block).
    #   @param blocker [Object] the object that the fiber waits for
    #   @param timeout [Numeric, nil] seconds
    #   @return [Boolean] whether it was unblocked; false when the timeout passed first

    # @!method unblock(blocker, fiber)
    #   Wakes a fiber that waits in #block. Any thread may call it, also in a trap handler; it raises nothing. When the
    #   fiber does not wait yet, its next #block for this object returns at once. It ends no other wait.
    #   @param blocker [Object]
    #   @param fiber [Fiber]
    #   @return [nil]

    # @!method kernel_sleep(seconds = nil)
    #   Kernel#sleep. With 0 seconds it lets the fibers that are ready run once.
    #   @param seconds [Numeric, nil] nil sleeps until the fiber is unblocked
    #   @return [true]

    # @!method yield
    #   Lets the fibers that are ready run once. Ruby 4.0 calls it after a trap handler.
    #   @return [nil]

    # @!method timeout_after(seconds, exception, message)
    #   Timeout.timeout without a thread: when the time is over, it raises the exception in the fiber at its wait. It
    #   does not interrupt a fiber that computes.
    #   @param seconds [Numeric]
    #   @param exception [Class, Exception]
    #   @param message [String, nil] of the exception, when +exception+ is a class
    #   @yieldparam seconds [Numeric]
    #   @return [Object] the value of the block

    # @!method io_wait(io, events, timeout)
    #   Waits until an IO is ready (scheduler.c, rb_fiber_scheduler_io_wait).
    #   @param io [IO]
    #   @param events [Integer] a sum of IO::READABLE, IO::PRIORITY and IO::WRITABLE
    #   @param timeout [Numeric, nil] seconds; nil for the IO's own
    #   @return [Integer, false] the events that are there, as Ruby reports them without a scheduler: an error counts as
    #     readable and writable, a hang-up as readable, even when +events+ has neither. false when the timeout passed
    #   @raise [IO::TimeoutError] when the IO's own timeout passed, on Ruby 3.3. Later Rubies raise it themselves.

    # @!method io_select(readables, writables = nil, exceptables = nil, timeout = nil)
    #   IO.select (scheduler.c, rb_fiber_scheduler_io_select).
    #   @param readables [Array<IO>, nil]
    #   @param writables [Array<IO>, nil]
    #   @param exceptables [Array<IO>, nil] IOs to watch for urgent input, as select(2) does
    #   @param timeout [Numeric, nil] seconds
    #   @return [Array(Array<IO>, Array<IO>, Array<IO>), nil] those that are ready; nil when the timeout passed

    # @!method io_read(io, buffer, length, offset = 0)
    #   Reads at least length bytes, or to the end. With a length of 0 it reads once (scheduler.c,
    #   rb_fiber_scheduler_io_read). From Ruby 4.1 on Ruby passes offset before length, and the hook reads once.
    #   @param io [IO]
    #   @param buffer [IO::Buffer] Ruby keeps it locked meanwhile
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave alone
    #   @return [Integer] bytes read, 0 at the end; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer
    #   @raise [IO::TimeoutError] when the IO's own timeout passes

    # @!method io_write(io, buffer, length, offset = 0)
    #   Writes all of the buffer from the offset on (scheduler.c, rb_fiber_scheduler_io_write). From Ruby 4.1 on Ruby
    #   passes offset before length, and the hook writes once.
    #   @param io [IO]
    #   @param buffer [IO::Buffer] Ruby keeps it locked meanwhile
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave out
    #   @return [Integer] bytes written; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer
    #   @raise [IO::TimeoutError] when the IO's own timeout passes

    # @!method io_pread(io, buffer, from, length, offset)
    #   As #io_read, at a position of the file: pread(2).
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param from [Integer] position in the file, in bytes
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave alone
    #   @return [Integer] bytes read, 0 at the end; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer

    # @!method io_pwrite(io, buffer, from, length, offset)
    #   As #io_write, at a position of the file: pwrite(2). Only on Ruby 4.0 and up: earlier Rubies would call it
    #   without the GVL (io.c, internal_pwrite_func).
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param from [Integer] position in the file, in bytes
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave out
    #   @return [Integer] bytes written; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer

    # @!method io_close(descriptor)
    #   Ends the operations on a descriptor that Ruby has taken from an IO and is about to close. Ruby 4.0 and up. Any
    #   thread may call it, also in a finalizer: it does not wait.
    #   @param descriptor [Integer]
    #   @return [false] which makes Ruby close it: only Ruby can report that close(2) failed

    # @!method fiber_interrupt(fiber, exception)
    #   Raises in a fiber at its wait. IO#close does that to fibers that wait for the IO (Ruby 4.0 and up). Any thread
    #   may call it.
    #   @param fiber [Fiber]
    #   @param exception [Exception]
    #   @return [nil]
    #   @raise [TypeError] when +fiber+ is no Fiber, or +exception+ no Exception

    # @!method address_resolve(hostname)
    #   Resolves a name in a worker thread: getaddrinfo(3).
    #   @param hostname [String]
    #   @return [Array<String>, nil] numeric addresses; nil when there is no such name
    #   @raise [Socket::ResolutionError] when getaddrinfo(3) fails otherwise

    # @!endgroup

    # The scheduler raises it in its remaining fibers when it closes because of an exception, so that their +ensure+
    # blocks run. It is no StandardError, so that +rescue+ without a class does not catch it.
    class Shutdown < Exception; end # rubocop:disable Lint/InheritException

    # Seconds that fibers have to end after Shutdown; then the scheduler kills them.
    SHUTDOWN_GRACE = 1
    # How often the scheduler kills a fiber that goes on in spite of it.
    KILLS_MAX = 16
    private_constant :SHUTDOWN_GRACE, :KILLS_MAX

    # A scheduler made with +workers:+ includes this module: the hook by which Ruby 3.4 and up hand over blocking work
    # that has no hook of its own. That many threads do it.
    #
    # IO.copy_stream waits for input in its thread, as long as that takes. So each copy has a thread of its own: copies
    # may wait for each other, and for other work. The calling thread itself does IO#close, at once.
    #
    # It does not suit every program. Opening a file costs two switches between threads. A Timeout does not end a copy;
    # from Ruby 4.0 on it does end work that is a single system call, like opening a FIFO. Fibers that open both ends of
    # FIFOs need as many workers as they open FIFOs at a time.
    module BlockingOperations
      # Does work in another thread that would block this one (thread.c, rb_nogvl with RB_NOGVL_OFFLOAD_SAFE; Ruby 3.4
      # and up): opening files, Zlib, IO.copy_stream and the like.
      # @param work [#call] a worker calls it exactly once before this method returns, even when something raises in
      #   the fiber or kills it meanwhile
      # @return [nil]
      def blocking_operation_wait(work)
        case handed_by
        when :close then return do_here(work)
        when :copy then threads = (@copy_threads ||= WorkerThreads.new(Float::INFINITY))
        else threads = (@worker_threads ||= WorkerThreads.new(@workers_max))
        end
        failure = nil
        await_job(threads, work, lambda do
          execute(work)
        rescue Exception => error # rubocop:disable Lint/RescueException
          failure = error
        end)
        raise failure if failure
      end

      private

      # From Ruby 4.0 on Ruby does the work itself when the hook has not done it.
      def do_here(work)
        Fiber.blocking { work.call } if RUBY_VERSION < "4.0"
      end

      # A queue with one of the threads at its other end, and what to push to it.
      def prepare_job(threads, token, job)
        wrapped = lambda do
          job.call
        ensure
          job_done(token)
        end
        [threads.queue, wrapped]
      end
    end

    # Runs every fiber to its end and frees the backend. Repeatable. When an exception ends it early, it shuts the
    # remaining fibers down first.
    # @return [nil]
    # @raise [FiberError] in a fiber of this scheduler
    def close
      return if closed? || discard

      check_not_inside
      end_fibers { run }
    end

    # CRuby calls it when the thread ends or sets another scheduler (scheduler.c, rb_fiber_scheduler_set). A thread that
    # ends by an exception or Thread#kill does not wait for its fibers: the scheduler shuts them down.
    # @return [nil]
    def scheduler_close
      return if closed? || @suspended || discard

      failing = $! || Thread.current.status == "aborting"
      end_fibers { run unless failing }
    end

    # Tells what each parked fiber waits for, the longest waits first: for a program that hangs. Any thread may call it,
    # also while a fiber of the scheduler computes. That fiber is not parked, so the list does not have it, nor the
    # fiber that runs the scheduler. It costs nothing until somebody calls it, and then some microseconds a fiber.
    # @return [Array<Wait>] empty for a scheduler that is closed, or belongs to the process that forked this one
    def fibers_waiting = waits.map { |row| Wait.new(row) }.reject(&:runs?)

    # Keeps the scheduler open while another one takes its place for the length of the block.
    # @return [Object] the value of the block
    # @api private
    def suspend
      @suspended = true
      yield
    ensure
      @suspended = false
    end

    # Waits for a child process (process.c, rb_process_status_wait), with the flags of Process.wait.
    # @param pid [Integer] of one child; -1 for any, 0 for those of the caller's group, -N for those of group N
    # @param flags [Integer] of Process.wait
    # @return [Process::Status] with pid -1 and the errno when there is no such child
    def process_wait(pid, flags)
      check_usable
      wait_for_status(pid, flags)
    end

    private

    def end_fibers
      yield
    ensure
      begin
        shut_down
      ensure
        release
        @worker_threads&.close
        @copy_threads&.close
      end
    end

    def shut_down
      interrupt_fibers { Shutdown.new("the scheduler was closed") }
      return if run_for(SHUTDOWN_GRACE)

      KILLS_MAX.times { interrupt_fibers { nil } }
    end

    def interrupt_fibers
      fibers.each { |fiber| interrupt(fiber, yield) if fiber.alive? }
    end

    # Written as Ruby does for threads (thread.c, rb_threadptr_... report_on_exception).
    def report_exception(fiber, exception)
      return unless Thread.current.report_on_exception

      $stderr.write("#{fiber.inspect} terminated with exception (report_on_exception is true):\n",
                    exception.full_message)
    end
  end
end
