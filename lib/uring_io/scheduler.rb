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
    #   @option options [Symbol, nil] :backend (nil) :io_uring, :epoll, :kqueue, :poll or :select; nil for the one that
    #     URING_IO_BACKEND names, or else the best that works
    #   @option options [Integer] :entries (1024) size of the submission queue, 1 to 32768
    #   @option options [Boolean] :sqpoll (false) whether a thread of the kernel polls that queue, as for Ring.new
    #   @option options [Numeric] :sqpoll_idle (1) as for Ring.new, in seconds
    #   @option options [Integer, nil] :sqpoll_cpu (nil) as for Ring.new
    #   @option options [Integer, nil] :workers (nil) the most threads that do blocking work, 1 to 1024; each
    #     IO.copy_stream gets one more. With a number, the scheduler has the module BlockingOperations.
    #   @option options [Boolean] :restrict (false) whether the kernel refuses every operation that the scheduler does
    #     not submit itself (Linux 5.10). That limits the harm of mistakes and of overwritten memory. In the fibers of
    #     such a scheduler, a Ring can read, write, receive, send, poll and wait for children. Its other calls, chains
    #     and registered buffers raise UnsupportedError. Other backends have no ring, so they ignore the option.
    #   @raise [UnsupportedError] when this machine lacks the backend or an option. A scheduler that is made with
    #     restrict: and without backend: uses epoll instead when the kernel cannot restrict a ring.
    #   @raise [ArgumentError] for an unknown backend, or a number out of its range

    # @!method backend
    #   Any thread may call it, also after #close.
    #   @return [Symbol] :io_uring, :epoll, :kqueue, :poll or :select

    # @!method closed?
    #   Any thread may call it.
    #   @return [Boolean] true after #close, and in a forked child for a scheduler of its parent

    # @!method run
    #   Runs every scheduled fiber to its end. Programs seldom call it: UringIO.run does the same, and so does Ruby when
    #   the thread ends.
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
    #   @return [Boolean] true when #unblock woke the fiber; false when the timeout passed first

    # @!method unblock(blocker, fiber)
    #   Wakes a fiber that waits in #block. Any thread may call it, also in a trap handler; it raises nothing. When the
    #   fiber does not wait yet, its next #block for this object returns at once, and no unrelated wait does.
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
    #   Timeout.timeout without a thread: when the seconds have passed, it raises the exception in the fiber, at its
    #   wait. It does not interrupt a fiber that computes.
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
    #     readable and writable, and a hang-up as readable, whatever +events+ is. false when the timeout passed
    #   @raise [IO::TimeoutError] when the IO's own timeout passed, on Ruby 3.3. Later Rubies raise it themselves.

    # @!method io_select(readables, writables = nil, exceptables = nil, timeout = nil)
    #   IO.select (scheduler.c, rb_fiber_scheduler_io_select).
    #   @param readables [Array<IO>, nil]
    #   @param writables [Array<IO>, nil]
    #   @param exceptables [Array<IO>, nil] IOs to watch for urgent input, as select(2) does
    #   @param timeout [Numeric, nil] seconds
    #   @return [Array(Array<IO>, Array<IO>, Array<IO>), nil] the IOs that are ready; nil when the timeout passed

    # @!method io_read(io, buffer, length, offset = 0)
    #   Reads at least length bytes, or up to the end. With a length of 0 it reads once (scheduler.c,
    #   rb_fiber_scheduler_io_read). From Ruby 4.1 on, Ruby passes offset before length, and the hook reads once.
    #   @param io [IO]
    #   @param buffer [IO::Buffer] Ruby keeps it locked during the call
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes at the buffer's beginning to skip
    #   @return [Integer] bytes read, 0 at the end; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer
    #   @raise [IO::TimeoutError] when the IO's own timeout passes

    # @!method io_write(io, buffer, length, offset = 0)
    #   Writes all of the buffer from the offset on (scheduler.c, rb_fiber_scheduler_io_write). From Ruby 4.1 on, Ruby
    #   passes offset before length, and the hook writes once.
    #   @param io [IO]
    #   @param buffer [IO::Buffer] Ruby keeps it locked during the call
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes at the buffer's beginning to skip
    #   @return [Integer] bytes written; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer
    #   @raise [IO::TimeoutError] when the IO's own timeout passes

    # @!method io_pread(io, buffer, from, length, offset)
    #   Like #io_read, at a position in the file: pread(2).
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param from [Integer] position in the file, in bytes
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes at the buffer's beginning to skip
    #   @return [Integer] bytes read, 0 at the end; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer

    # @!method io_pwrite(io, buffer, from, length, offset)
    #   Like #io_write, at a position in the file: pwrite(2). Only on Ruby 4.0 and up: earlier Rubies would call it
    #   without the GVL (io.c, internal_pwrite_func).
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param from [Integer] position in the file, in bytes
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes at the buffer's beginning to skip
    #   @return [Integer] bytes written; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer

    # @!method io_close(descriptor)
    #   Ends the operations on a descriptor that Ruby has taken from an IO and is about to close. Ruby 4.0 and up. Any
    #   thread may call it, also in a finalizer: it does not wait.
    #   @param descriptor [Integer]
    #   @return [false] so that Ruby closes the descriptor: only Ruby can report that close(2) failed

    # @!method fiber_interrupt(fiber, exception)
    #   Raises an exception in a fiber, at its wait. IO#close calls it for the fibers that wait for the IO (Ruby 4.0 and
    #   up). Any thread may call it.
    #   @param fiber [Fiber]
    #   @param exception [Exception]
    #   @return [nil]
    #   @raise [TypeError] when +fiber+ is not a Fiber, or +exception+ is not an Exception

    # @!method address_resolve(hostname)
    #   Resolves a name in a worker thread: getaddrinfo(3).
    #   @param hostname [String]
    #   @return [Array<String>, nil] numeric addresses; nil when there is no such name
    #   @raise [Socket::ResolutionError] when getaddrinfo(3) fails for another reason
    #   @raise [SystemCallError] when it fails because of a system call

    # @!endgroup

    # The scheduler raises it in its remaining fibers when it closes because of an exception, so that their +ensure+
    # blocks run. It is not a StandardError, so a +rescue+ without a class does not catch it.
    class Shutdown < Exception; end # rubocop:disable Lint/InheritException

    # Seconds in which fibers have to end after Shutdown; then the scheduler kills them.
    SHUTDOWN_GRACE = 1
    # How many times the scheduler kills a fiber that does not end.
    KILLS_MAX = 16
    private_constant :SHUTDOWN_GRACE, :KILLS_MAX

    # A scheduler made with +workers:+ has this module. Ruby 3.4 and up call its hook with blocking work that has no
    # hook of its own. At most +workers:+ threads do the work.
    #
    # IO.copy_stream waits for input in its thread, as long as that takes. So each copy has a thread of its own, because
    # copies may wait for each other and for other work. The calling thread does IO#close itself, at once.
    #
    # The module does not suit every program. Opening a file costs two switches between threads. A Timeout does not end
    # a copy; from Ruby 4.0 on, it does end work that is a single system call, like opening a FIFO. Fibers that open
    # both ends of FIFOs need as many workers as they open FIFOs at a time.
    module BlockingOperations
      # Lets another thread do work that would block this one (thread.c, rb_nogvl with RB_NOGVL_OFFLOAD_SAFE; Ruby 3.4
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

      # From Ruby 4.0 on, Ruby does the work itself when the hook has not done it.
      def do_here(work)
        Fiber.blocking { work.call } if RUBY_VERSION < "4.0"
      end

      # Returns a queue that one of the threads takes jobs from, and the job to push to it.
      def prepare_job(threads, token, job)
        wrapped = lambda do
          job.call
        ensure
          job_done(token)
        end
        [threads.queue, wrapped]
      end
    end

    # Runs every fiber to its end and frees the backend. Repeatable. When an exception ends the run early, it shuts the
    # remaining fibers down before it frees the backend.
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

    # Lists the waits of all parked fibers, the longest first, to find out why a program hangs. Any thread may call it,
    # also while a fiber of the scheduler computes. The list leaves out that fiber, which is not parked, and the fiber
    # that runs the scheduler. A call costs a few microseconds for each fiber; until then the feature costs nothing.
    # @return [Array<Wait>] empty for a closed scheduler, and in a forked child for a scheduler of its parent
    def fibers_waiting = waits.map { |row| Wait.new(row) }.reject(&:runs?)

    # Keeps the scheduler open while another one takes its place during the block.
    # @return [Object] the value of the block
    # @api private
    def suspend
      @suspended = true
      yield
    ensure
      @suspended = false
    end

    # Waits for a child process (process.c, rb_process_status_wait), with the flags of Process.wait.
    # @param pid [Integer] one child; -1 for any, 0 for those of the caller's group, -N for those of group N
    # @param flags [Integer] the flags of Process.wait
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

    # Writes the message that Ruby writes for threads (thread.c, thread_start_func_2).
    def report_exception(fiber, exception)
      return unless Thread.current.report_on_exception

      $stderr.write("#{fiber.inspect} terminated with exception (report_on_exception is true):\n",
                    exception.full_message)
    end
  end
end
