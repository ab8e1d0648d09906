# frozen_string_literal: true

module UringIO
  # A complete Fiber::Scheduler on io_uring, epoll, poll or select.
  #
  #   Fiber.set_scheduler(UringIO::Scheduler.new)
  #   Fiber.schedule { Net::HTTP.get(uri) }
  #
  # One scheduler belongs to the thread that uses it first, by starting a fiber or by whatever hook Ruby calls. From
  # then on its methods raise ThreadError elsewhere, but for #unblock, #fiber_interrupt, #io_close, #fibers_waiting,
  # #trace, #backend and #closed?. After #close the other hooks raise ClosedError. Durations are in seconds, sizes in
  # bytes. The hooks that programs reach often are native (ext/uring_io/src/classes/scheduler/mod.rs); here is what is
  # called seldom.
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
    #   @option options [Integer, nil] :workers (nil) most threads that do blocking work, 1 to 1024, besides one for
    #     each IO.copy_stream; given a number, the scheduler has BlockingOperations
    #   @option options [Boolean] :restrict (false) whether the kernel is to refuse to the ring whatever the scheduler
    #     does not submit itself (Linux 5.10), against mistakes and memory that was overwritten. A Ring in one of the
    #     scheduler's fibers then raises UnsupportedError for all but reading, writing, receiving, sending, polling and
    #     waiting for children, and for chains and registered buffers. Other backends have no ring, and nothing to
    #     restrict.
    #   @raise [UnsupportedError] when what was asked for cannot be had here. Without a backend asked for, restrict:
    #     falls back to epoll where a ring cannot be restricted.
    #   @raise [ArgumentError] for another name of a backend, or a number out of its range

    # @!method backend
    #   Any thread may ask, also when it is closed.
    #   @return [Symbol] :io_uring, :epoll, :kqueue, :poll or :select

    # @!method closed?
    #   Any thread may ask.
    #   @return [Boolean] whether it was closed, or was used by the process that forked this one

    # @!method run
    #   Runs every scheduled fiber to its end. Programs seldom call it: the end of the thread does, and UringIO.run.
    #   @return [nil]
    #   @raise [FiberError] in a fiber of this scheduler

    # @!method stats
    #   What happened so far: +enters+ (system calls that submit or wait), +submissions+ (operations handed to the
    #   backend), +completions+ (those that are over), +direct_calls+ (other system calls on behalf of operations),
    #   +switches+ (between fibers), +waiting_seconds+ (in the kernel) and +running_seconds+ (since the scheduler was
    #   made, without the waiting).
    #   @return [Hash{Symbol => Integer, Float}]

    # @!group Hooks, called by Ruby

    # @!method fiber(*arguments, **keywords, &block)
    #   Starts a fiber at once, until it waits (scheduler.c, rb_fiber_scheduler_fiber): Fiber.schedule.
    #   @return [Fiber]
    #   @raise [ArgumentError] without a block

    # @!method block(blocker, timeout)
    #   Waits for #unblock: Mutex, Queue, ConditionVariable, Thread#join (scheduler.c, rb_fiber_scheduler_block).
    #   @param blocker [Object] what is waited for
    #   @param timeout [Numeric, nil] seconds
    #   @return [Boolean] whether it was unblocked; false when the timeout passed first

    # @!method unblock(blocker, fiber)
    #   Lets a fiber go on that is in #block. From any thread, also in a trap handler; it raises nothing. When the fiber
    #   is not there yet, its next #block for this object returns at once. No other wait ends.
    #   @param blocker [Object]
    #   @param fiber [Fiber]
    #   @return [nil]

    # @!method kernel_sleep(seconds = nil)
    #   Kernel#sleep. For 0 seconds the fibers that are ready run once.
    #   @param seconds [Numeric, nil] nil sleeps until the fiber is unblocked
    #   @return [true]

    # @!method yield
    #   Lets the fibers that are ready run once. Ruby 4.0 asks for it after a trap handler.
    #   @return [nil]

    # @!method timeout_after(seconds, exception, message)
    #   Timeout.timeout without a thread: the exception is raised at what the fiber waits for when the time is over. A
    #   fiber that computes is not interrupted.
    #   @param seconds [Numeric]
    #   @param exception [Class, Exception]
    #   @param message [String, nil] of an exception that is given by its class
    #   @yieldparam seconds [Numeric]
    #   @return [Object] the value of the block

    # @!method io_wait(io, events, timeout)
    #   Waits until an IO is ready (scheduler.c, rb_fiber_scheduler_io_wait).
    #   @param io [IO]
    #   @param events [Integer] a sum of IO::READABLE, IO::PRIORITY and IO::WRITABLE
    #   @param timeout [Numeric, nil] seconds; nil for the IO's own
    #   @return [Integer, false] what it is ready for, as Ruby answers without a scheduler: an error counts as input and
    #     room, a hang-up as input, whatever was asked for; false when the time was over
    #   @raise [IO::TimeoutError] when the IO's own timeout passed, on Ruby 3.3: later ones raise it themselves

    # @!method io_select(readables, writables = nil, exceptables = nil, timeout = nil)
    #   IO.select (scheduler.c, rb_fiber_scheduler_io_select).
    #   @param readables [Array<IO>, nil]
    #   @param writables [Array<IO>, nil]
    #   @param exceptables [Array<IO>, nil] urgent input is the only thing that they can be ready for, as in select(2)
    #   @param timeout [Numeric, nil] seconds
    #   @return [Array(Array<IO>, Array<IO>, Array<IO>), nil] those that are ready; nil when the time was over

    # @!method io_read(io, buffer, length, offset = 0)
    #   Reads at least length bytes, or to the end; for a length of 0 what one read(2) gives (scheduler.c,
    #   rb_fiber_scheduler_io_read). From Ruby 4.1 on the last two arguments change places, and it is one read(2).
    #   @param io [IO]
    #   @param buffer [IO::Buffer] locked by Ruby meanwhile
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave alone
    #   @return [Integer] bytes read, 0 at the end; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer
    #   @raise [IO::TimeoutError] when the IO's own timeout passes

    # @!method io_write(io, buffer, length, offset = 0)
    #   Writes all of the buffer from the offset on (scheduler.c, rb_fiber_scheduler_io_write). From Ruby 4.1 on the
    #   last two arguments change places, and it is one write(2).
    #   @param io [IO]
    #   @param buffer [IO::Buffer] locked by Ruby meanwhile
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
    #   As #io_write, at a position of the file: pwrite(2). Ruby 4.0 and up: earlier ones would call it without the GVL
    #   (io.c, internal_pwrite_func).
    #   @param io [IO]
    #   @param buffer [IO::Buffer]
    #   @param from [Integer] position in the file, in bytes
    #   @param length [Integer] bytes
    #   @param offset [Integer] bytes in the buffer to leave out
    #   @return [Integer] bytes written; or a negative errno
    #   @raise [ArgumentError] when length and offset go beyond the buffer

    # @!method io_close(descriptor)
    #   Ends what is under way on a descriptor that Ruby has taken from an IO and closes next. Ruby 4.0 and up. From
    #   any thread, also in a finalizer: it does not wait.
    #   @param descriptor [Integer]
    #   @return [false] as Ruby is to close it: only Ruby can report that close(2) failed

    # @!method fiber_interrupt(fiber, exception)
    #   Raises in a fiber at its wait: what IO#close does to those that wait for the IO (Ruby 4.0 and up). From any
    #   thread.
    #   @param fiber [Fiber]
    #   @param exception [Exception]
    #   @return [nil]
    #   @raise [TypeError] for what is neither

    # @!method address_resolve(hostname)
    #   Resolves a name in a worker thread: getaddrinfo(3).
    #   @param hostname [String]
    #   @return [Array<String>, nil] numeric addresses; nil when there is no such name
    #   @raise [Socket::ResolutionError] when it could not be found out

    # @!endgroup

    # Raised in the fibers that are left when their scheduler closes in the course of an exception,
    # so that their +ensure+ blocks run. Not a StandardError: it is for nobody to rescue.
    class Shutdown < Exception; end # rubocop:disable Lint/InheritException

    # Seconds that fibers have to end after Shutdown was raised in them; then they are killed.
    SHUTDOWN_GRACE = 1
    # Times that a fiber is killed before it is given up, because it goes on in spite of it.
    KILLS_MAX = 16
    private_constant :SHUTDOWN_GRACE, :KILLS_MAX

    # What a scheduler made with +workers:+ has besides: the hook by which Ruby 3.4 and up hand over
    # whatever blocks without a hook of its own, to be done by that many threads.
    #
    # IO.copy_stream waits for input in its thread, as long as that takes. So each copy has a thread besides the others:
    # they may wait for each other, and for what the others do. IO#close is done at once, by this thread.
    #
    # Not for every program: opening a file costs a change of threads, and a Timeout does not end a copy; what is one
    # system call, like opening a FIFO, is ended on Ruby 4.0 and up. Fibers that open both ends of FIFOs need as many
    # workers as there are opened at a time.
    module BlockingOperations
      # Does in a thread what Ruby would block this one for (thread.c, rb_nogvl with
      # RB_NOGVL_OFFLOAD_SAFE; Ruby 3.4 up): opening files, Zlib, IO.copy_stream and the like.
      # @param work [#call] is called exactly once before this returns, even when the fiber is raised
      #   into or killed meanwhile
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

      # From Ruby 4.0 on Ruby does what the hook has not done.
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

    # Runs every fiber to its end and gives the backend back. Repeatable. When an exception comes
    # in between, the fibers that are left are shut down first.
    # @return [nil]
    # @raise [FiberError] in a fiber of this scheduler
    def close
      return if closed? || discard

      check_not_inside
      end_fibers { run }
    end

    # Called by CRuby when the thread ends or another scheduler is set (scheduler.c,
    # rb_fiber_scheduler_set). A thread that is failing or being killed does not wait for its
    # fibers: they are shut down.
    # @return [nil]
    def scheduler_close
      return if closed? || @suspended || discard

      failing = $! || Thread.current.status == "aborting"
      end_fibers { run unless failing }
    end

    # What each parked fiber waits for, the longest waits first: for a program that hangs. Any thread may ask, also
    # while a fiber of the scheduler computes: that one is not parked, and so not among them, nor is the fiber that runs
    # the scheduler. It costs nothing until it is called, and then some microseconds a fiber.
    # @return [Array<Wait>] empty for a scheduler that is closed, or was used by the process that forked this one
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
