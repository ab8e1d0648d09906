# frozen_string_literal: true

module UringIO
  # Base of the errors that are ours. The kernel's own stay Errno::*.
  class Error < StandardError; end

  # What was asked for cannot work here: the message says why and what helps.
  class UnsupportedError < Error; end

  # The object was closed before the call.
  class ClosedError < Error; end

  # A chain of calls (Ring#chain) that did not come to its end. Its cause is the exception of the step that broke it;
  # an Error of ours for one that transferred less than was asked for, IO::TimeoutError when the time was over.
  class ChainError < Error
    # @return [Ring::Chain::Step] the one that broke it: its name and index
    attr_reader :step
    # @return [Array] what each step came to; for one that failed or was not made the exception
    attr_reader :outcomes

    # @api private
    def initialize(step, outcomes, why)
      @step = step
      @outcomes = outcomes
      rest = outcomes.size - step.index - 1
      super("step #{step.index} (#{step.name}) broke the chain: #{why}#{"; #{rest} steps after it" if rest.positive?}")
    end
  end
end
