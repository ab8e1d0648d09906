# frozen_string_literal: true

# A scheduler that notes which hooks Ruby calls, with their arguments, and forwards them.
class HookRecorder < UringIO::Scheduler
  Call = Struct.new(:hook, :arguments, :result)

  HOOKS = %i[fiber block unblock kernel_sleep io_wait io_read io_write io_pread io_select address_resolve
             process_wait timeout_after scheduler_close close].freeze

  def calls
    @calls ||= []
  end

  # Names of the hooks called so far.
  def hooks
    calls.map(&:hook)
  end

  def called(hook)
    calls.select { |call| call.hook == hook }
  end

  HOOKS.each do |hook|
    define_method(hook) do |*arguments, **keywords, &block|
      call = Call.new(hook, arguments)
      calls << call
      call.result = super(*arguments, **keywords, &block)
    end
  end
end

# Runs code under a HookRecorder.
module HookRecording
  # Calls of Ruby to hooks while the block runs in a fiber.
  def recorded(&block)
    scheduler = nil
    make = -> { scheduler = HookRecorder.new(backend:) }
    scheduled_by(make) { block.call(scheduler) }
    scheduler
  end
end

RSpec.configure { |config| config.include HookRecording }
