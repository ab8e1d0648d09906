# frozen_string_literal: true

require_relative "execution_state"

module UringIO
  module Rails
    # The scheduler of UringIO.run inside of a request or job. Each fiber is an execution of Rails' executor. So it
    # gives its database connection back when it ends, even by an exception. It begins with the state that it inherits.
    class Scheduler < UringIO::Scheduler
      # @param executor [Class, nil] Rails' executor, when fibers run within it
      # @param inherit [Boolean] whether a fiber begins with the state of the one that schedules it
      # @param interlock [ActiveSupport::Dependencies::Interlock, nil] the lock that executions share, when Rails
      #   reloads classes
      def surround(executor:, inherit:, interlock:)
        @executor = executor
        @inherit = inherit
        @interlock = interlock
        @executions = 0
      end

      # See UringIO::Scheduler#fiber.
      def fiber(*arguments, **keywords, &block)
        return super unless block

        state = ExecutionState.new if @inherit
        super(*arguments, **keywords) do |*given, **named|
          within_execution do
            state&.restore
            block.call(*given, **named)
          end
        end
      end

      private

      def within_execution
        return yield unless @executor

        # The executor reports every exception that leaves it to Rails.error. A shutdown is no fault of the fiber, so we
        # raise it outside of the executor.
        shutdown = nil
        @executor.wrap do
          begin_execution
          yield
        rescue Shutdown => error
          shutdown = error
        ensure
          end_execution
        end
        raise shutdown if shutdown
      end

      # Every execution takes a share of Rails' interlock, so that nobody unloads classes meanwhile. The interlock
      # counts the shares of a thread, and a fiber that waits for a connection lends out all shares of its thread. If
      # another fiber took or gave back a share then, the count would be wrong, and the next reload might wait for ever.
      # So all fibers together have one share: the first one takes it, and the last one gives it back.
      def begin_execution
        @executions += 1
        @interlock&.done_running if @executions > 1
      end

      def end_execution
        @executions -= 1
        @interlock&.start_running if @executions.positive?
      end
    end

    private_constant :Scheduler
  end
end
