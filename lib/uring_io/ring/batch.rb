# frozen_string_literal: true

module UringIO
  class Ring
    # Calls that are made together, see Ring#batch.
    class Batch
      include Operations

      # @api private
      def initialize
        @calls = []
        @timeouts = []
        @conversions = []
        # Whoever closes a file that nobody else holds would take it from the call.
        @ios = []
      end

      # @api private
      def fill(discard)
        yield self
        self
      rescue Exception # rubocop:disable Lint/RescueException
        discard.call(@calls)
        raise
      end

      # @api private
      def make
        values = yield @calls, @timeouts
        values.each_with_index.map { |value, index| value.is_a?(Exception) ? value : converted(value, index) }
      end

      private

      def converted(value, index)
        convert = @conversions[index]
        convert ? convert.call(value) : value
      end

      def run(call, timeout: nil, &convert)
        @calls << call
        @timeouts << timeout
        @conversions << convert
        @calls.size - 1
      end

      def descriptor(io)
        @ios << io
        super
      end
    end
  end
end
