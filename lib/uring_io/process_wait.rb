# frozen_string_literal: true

# Child processes.
module UringIO
  # Waiting for child processes, for classes that have +wait_for_child+ and +block_for_child+.
  # @api private
  module ProcessWait
    private

    # Waits for one child, for any (-1), or for a group (0 or negative), with the flags of Process.wait. On io_uring
    # (Linux 6.7) no such wait takes a thread. On other backends only the wait for the end of one child takes none.
    # @return [Process::Status] with pid -1 and the errno when there is no such child
    def wait_for_status(pid, flags)
      # Look first: the program may wait for its children only, but the kernel gives a pidfd for any process.
      until (status = reap(pid, flags))
        wait_in_thread(pid, flags) unless wait_for_child(pid, flags)
      end
      status
    end

    # The status of a child with news, or the status for no child at all; nil while the children run. With WNOHANG Ruby
    # does not call process_wait.
    def reap(pid, flags)
      Process::Status.wait(pid, flags | Process::WNOHANG)
    end

    # The thread reaps nothing: its answer may come after its fiber was interrupted.
    def wait_in_thread(pid, flags)
      thread = Thread.new { block_for_child(pid, flags) }
      thread.report_on_exception = false
      thread.join
    ensure
      thread&.kill
    end
  end
end
