# frozen_string_literal: true

# Ruby 3.3 and 3.4 tell no scheduler when an IO is closed. What a fiber has begun to read in the same turn has not gone
# to the kernel by then, and would find whatever has the number of the descriptor next.
module UringIO
  # Has IO#close wait for that.
  # @api private
  module Close
    # As IO#close.
    def close
      scheduler = Fiber.scheduler
      scheduler.before_close(fileno) if scheduler.is_a?(Scheduler) && !closed?
      super
    end
  end

  # In a block, as YARD knows no IO.
  IO.class_eval { prepend(Close) } unless Scheduler.method_defined?(:io_close)
end
