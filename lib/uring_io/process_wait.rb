# frozen_string_literal: true

# Child processes.
module UringIO
  # Waiting for child processes, for whoever has +wait_for_child+ and +block_for_child+.
  # @api private
  module ProcessWait
    private

    # One child, any (-1), or a group (0 or negative), with the flags of Process.wait. On io_uring
    # (Linux 6.7) all of them cost no thread, elsewhere one child that ends; the others are waited
    # for in a thread.
    # @return [Process::Status] with pid -1 and the errno when there is no such child
    def wait_for_status(pid, flags)
      # Looking first: only children may be waited for, while a pidfd can be had for any process.
      until (status = reap(pid, flags))
        wait_in_thread(pid, flags) unless wait_for_child(pid, flags)
      end
      status
    end

    # The status of a child that there is something to tell of, or of none at all; nil while they
    # run. With WNOHANG Ruby does not call process_wait.
    def reap(pid, flags)
      Process::Status.wait(pid, flags | Process::WNOHANG)
    end

    # The thread reaps nothing: what it sees may come after its fiber was interrupted.
    def wait_in_thread(pid, flags)
      thread = Thread.new { block_for_child(pid, flags) }
      thread.report_on_exception = false
      thread.join
    ensure
      thread&.kill
    end
  end
end
