# frozen_string_literal: true

# Forked children.
module UringIO
  # Takes the inherited scheduler away from a forked child (process.c, rb_fork_ruby calls _fork):
  # its ring or epoll set is the parent's. Ruby 4.0 does so by itself.
  # @api private
  module Fork
    # @return [Integer] as Process._fork
    def _fork
      pid = super
      scheduler = Fiber.scheduler if pid.zero?
      if scheduler.is_a?(Scheduler)
        scheduler.abandon
        Fiber.set_scheduler(nil)
      end
      pid
    end
  end

  Process.singleton_class.prepend(Fork)
end
