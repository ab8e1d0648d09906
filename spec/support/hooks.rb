# frozen_string_literal: true

# The hooks of a scheduler.
module Hooks
  # The first Ruby that calls each hook. Ruby does not call close when there is a scheduler_close.
  SINCE = {
    fiber: "3.0", scheduler_close: "3.0", block: "3.0", unblock: "3.0", kernel_sleep: "3.0", yield: "4.0",
    timeout_after: "3.0", io_wait: "3.0", io_read: "3.0", io_write: "3.0", io_pread: "3.0", io_pwrite: "4.0",
    io_select: "3.0", io_close: "4.0", process_wait: "3.0", address_resolve: "3.0",
    blocking_operation_wait: "3.4", fiber_interrupt: "4.0"
  }.freeze

  # The hooks that this Ruby calls.
  CALLED = SINCE.select { |_, since| RUBY_VERSION >= since }.keys.freeze

  # Hooks that the scheduler leaves out on this Ruby, which calls them without the GVL or not at all (scheduler/mod.rs).
  LACKING = RUBY_VERSION >= "4.0" ? [] : %i[io_pwrite io_close].freeze

  # Public methods of Scheduler that are no hooks.
  OTHERS = %i[backend closed? run stats fibers_waiting suspend close].freeze
end
