# frozen_string_literal: true

# Ruby 3.3 and 3.4 crash when IO#pwrite is called in a non-blocking fiber while another thread runs: they look for the
# hook, and make its IO::Buffer, without the GVL (io.c, internal_pwrite_func), also when the scheduler has no such hook.
module UringIO
  # Calls IO#pwrite as from a blocking fiber, where Ruby looks for no hook.
  # @api private
  module Pwrite
    # As IO#pwrite.
    def pwrite(...)
      return super unless Fiber.current_scheduler

      Fiber.blocking { super }
    end
  end

  # In a block, as YARD knows no IO.
  IO.class_eval { prepend(Pwrite) } if RUBY_VERSION < "4.0"
end
