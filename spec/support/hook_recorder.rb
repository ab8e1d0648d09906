# frozen_string_literal: true

require_relative "hooks"

# A scheduler that records the hooks that Ruby calls, with their arguments, and passes the calls on.
class HookRecorder < UringIO::Scheduler
  Call = Struct.new(:hook, :arguments, :result)

  # The hooks that the scheduler has on this Ruby. With more hooks the recorder would change what Ruby does.
  HOOKS = [*Hooks::SINCE.keys, :close].select { |hook| UringIO::Scheduler.method_defined?(hook) }.freeze

  def self.recording(*hooks)
    Module.new do
      hooks.each do |hook|
        define_method(hook) do |*arguments, **keywords, &block|
          call = Call.new(hook, arguments)
          calls << call
          call.result = super(*arguments, **keywords, &block)
        end
      end
    end
  end

  prepend recording(*HOOKS)

  def initialize(**)
    super
    # The scheduler has this hook only when it is made with workers.
    extend self.class.recording(:blocking_operation_wait) if respond_to?(:blocking_operation_wait)
  end

  def calls
    @calls ||= []
  end

  # The names of the hooks called so far.
  def hooks
    calls.map(&:hook)
  end

  def called(hook)
    calls.select { |call| call.hook == hook }
  end
end

# Runs code under a HookRecorder.
module HookRecording
  # The recorder of the hooks that Ruby calls while the block runs in a fiber.
  def recorded(**options, &block)
    scheduler = nil
    make = -> { scheduler = HookRecorder.new(backend:, **options) }
    scheduled_by(make) { block.call(scheduler) }
    scheduler
  end
end

RSpec.configure { |config| config.include HookRecording }
