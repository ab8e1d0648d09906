# frozen_string_literal: true

# Forked children.
module UringIO
  # Takes the inherited scheduler away from a forked child. It counts as closed there already: its ring or epoll set
  # belongs to the parent, and so do its parked fibers. Ruby 4.0 does this by itself (process.c, rb_fork_ruby).
  # @api private
  module Fork
    # @return [Integer] as Process._fork, which every fork but Process.daemon goes through
    def _fork
      pid = super
      Fork.leave_scheduler if pid.zero?
      pid
    end

    # @return [Integer] as Process.daemon, which goes on in a child
    def daemon(...)
      result = super
      Fork.leave_scheduler
      result
    end

    # @return [void]
    def self.leave_scheduler
      Fiber.set_scheduler(nil) if Fiber.scheduler.is_a?(Scheduler)
    end
  end

  Process.singleton_class.prepend(Fork)
end
