# frozen_string_literal: true

module UringIO
  # Waits for child processes, in classes that have the methods +wait_for_child+ and +block_for_child+.
  # @api private
  module ProcessWait
    private

    # Waits for one child, for any (-1), or for a group (0 or negative), with the flags of Process.wait. On io_uring
    # (Linux 6.7) it needs no thread. On other backends, only a wait for the end of one child does without a thread.
    # @return [Process::Status] with pid -1 and the errno when there is no such child
    def wait_for_status(pid, flags)
      # Reap first: a program can wait only for its own children, but the kernel gives it a pidfd for any process.
      until (status = reap(pid, flags))
        wait_in_thread(pid, flags) unless wait_for_child(pid, flags)
      end
      status
    end

    # Returns the status of a child that has changed its state, or a status with pid -1 when there is no such child; nil
    # while the children run. With WNOHANG, Ruby does not call the hook process_wait.
    def reap(pid, flags)
      Process::Status.wait(pid, flags | Process::WNOHANG)
    end

    # The thread does not reap the child: the fiber may be interrupted before it could take the status.
    def wait_in_thread(pid, flags)
      thread = Thread.new { block_for_child(pid, flags) }
      thread.report_on_exception = false
      thread.join
    ensure
      thread&.kill
    end
  end
end
