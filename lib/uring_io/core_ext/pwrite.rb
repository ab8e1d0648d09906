# frozen_string_literal: true

module UringIO
  # Calls IO#pwrite as a blocking fiber does: there Ruby does not look for the hook. Ruby 3.3 and 3.4 crash when a
  # non-blocking fiber calls IO#pwrite while another thread runs. They look for the hook, and make its IO::Buffer,
  # without the GVL (io.c, internal_pwrite_func), even when the scheduler has no such hook.
  # @api private
  module Pwrite
    # Like IO#pwrite.
    def pwrite(...)
      return super unless Fiber.current_scheduler

      Fiber.blocking { super }
    end
  end

  # With a block, because YARD does not know the class IO.
  IO.class_eval { prepend(Pwrite) } if RUBY_VERSION < "4.0"
end
