# frozen_string_literal: true

module UringIO
  # Takes the inherited scheduler off the thread of a forked child. The scheduler counts as closed there, because its
  # ring or epoll set and its parked fibers belong to the parent. Ruby 4.0 does this by itself (process.c,
  # rb_fork_ruby).
  # @api private
  module Fork
    # @return [Integer] as Process._fork; every fork except Process.daemon calls it
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
