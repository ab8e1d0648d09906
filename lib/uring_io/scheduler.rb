# frozen_string_literal: true

module UringIO
  # A complete Fiber::Scheduler on io_uring, epoll, poll or select.
  #
  #   Fiber.set_scheduler(UringIO::Scheduler.new)
  #   Fiber.schedule { Net::HTTP.get(uri) }
  #
  # One scheduler belongs to the thread that made it: its hooks raise ThreadError elsewhere, all
  # but #unblock. The hooks that programs reach often are native (ext/uring_io/src/scheduler.rs);
  # here is what is called seldom.
  class Scheduler
    include ProcessWait

    # @!method initialize(backend: nil, entries: 1024, sqpoll: false, sqpoll_idle: 1, sqpoll_cpu: nil, workers: nil,
    #   restrict: false)
    #   @param backend [Symbol, nil] :io_uring, :epoll, :poll or :select; URING_IO_BACKEND or else the best that
    #     works when nil
    #   @param entries [Integer] size of the submission queue
    #   @param sqpoll [Boolean] whether a thread of the kernel polls that queue, as for Ring.new
    #   @param workers [Integer, nil] most threads that do blocking work; given a number, the scheduler has
    #     BlockingOperations
    #   @param restrict [Boolean] whether the kernel is to refuse to the ring whatever the scheduler does not submit
    #     itself (Linux 5.10), against mistakes and memory that was overwritten. A Ring in one of the scheduler's
    #     fibers then raises UnsupportedError for all but reading, writing, receiving, sending, polling and waiting
    #     for children, and for chains and registered buffers. Other backends have no ring, and nothing to restrict.
    #   @raise [UnsupportedError] when what was asked for cannot be had here. Without a backend asked for, restrict:
    #     falls back to epoll where a ring cannot be restricted.

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
    # Not for every program: opening a file costs a change of threads, IO.copy_stream goes to a
    # thread as a whole, so that copies which wait for each other need a thread each, and a Timeout
    # does not end it; what is one system call, like opening a FIFO, is ended on Ruby 4.0 and up.
    module BlockingOperations
      # Does in a thread what Ruby would block this one for (thread.c, rb_nogvl with
      # RB_NOGVL_OFFLOAD_SAFE; Ruby 3.4 up): opening files, Zlib, IO.copy_stream and the like.
      # @param work [#call] is called exactly once before this returns, even when the fiber is raised
      #   into or killed meanwhile
      def blocking_operation_wait(work)
        failure = nil
        await_job(work, lambda do
          execute(work)
        rescue Exception => error # rubocop:disable Lint/RescueException
          failure = error
        end)
        raise failure if failure
      end

      private

      # A queue with a thread at its other end, and what to push to it.
      def prepare_job(token, job)
        @worker_threads ||= WorkerThreads.new(@workers_max)
        wrapped = lambda do
          job.call
        ensure
          job_done(token)
        end
        [@worker_threads.queue, wrapped]
      end
    end

    # Runs every fiber to its end and gives the backend back. Repeatable. When an exception comes
    # in between, the fibers that are left are shut down first.
    # @raise [FiberError] in a fiber of this scheduler
    def close
      return if closed?

      check_not_inside
      end_fibers { run }
    end

    # Called by CRuby when the thread ends or another scheduler is set (scheduler.c,
    # rb_fiber_scheduler_set). A thread that is failing or being killed does not wait for its
    # fibers: they are shut down.
    def scheduler_close
      return if closed? || @suspended

      failing = $! || Thread.current.status == "aborting"
      end_fibers { run unless failing }
    end

    # Keeps the scheduler open while another one takes its place for the length of the block.
    # @api private
    def suspend
      @suspended = true
      yield
    ensure
      @suspended = false
    end

    # Waits for a child process (process.c, rb_process_status_wait), with the flags of Process.wait.
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
