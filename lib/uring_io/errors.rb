# frozen_string_literal: true

module UringIO
  # Base of this gem's errors. Errors of the kernel stay Errno::*.
  class Error < StandardError; end

  # This machine or object cannot do what the caller asks for. The message says why, and what helps.
  class UnsupportedError < Error; end

  # The object was closed before the call.
  class ClosedError < Error; end

  # A chain of calls (Ring#chain) broke before its end. The cause is the exception of the step that broke it: Error when
  # the step transferred fewer bytes than it should, IO::TimeoutError when the timeout passed.
  class ChainError < Error
    # @return [Ring::Chain::Step] the step that broke the chain
    attr_reader :step
    # @return [Array] the result of each step; an exception for a step that failed, or that the ring did not make
    attr_reader :outcomes

    # @api private
    def initialize(step, outcomes, why)
      @step = step
      @outcomes = outcomes
      rest = outcomes.size - step.index - 1
      super("step #{step.index} (#{step.name}) broke the chain: #{why}#{"; steps not run: #{rest}" if rest.positive?}")
    end
  end
end
