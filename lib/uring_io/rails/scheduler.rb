# frozen_string_literal: true

require_relative "execution_state"

module UringIO
  # See railtie.rb.
  module Rails
    # The scheduler of UringIO.run inside of a request or job: each fiber is an execution of Rails' executor, by which
    # it gives its database connection back when it ends, however that is, and begins with the state that it inherits.
    class Scheduler < UringIO::Scheduler
      # @param executor [Class, nil] Rails' executor, when fibers are to run within it
      # @param inherit [Boolean] whether a fiber begins with the state of the one that schedules it
      # @param interlock [ActiveSupport::Dependencies::Interlock, nil] which an execution shares where classes are
      #   reloaded
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

        # The executor reports every exception that leaves it to Rails.error, and a shutdown is no fault of the fiber.
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
      # counts them for the thread, and a fiber that waits for a connection lends out all that its thread has. Another
      # fiber that took or gave back a share then would leave a wrong count, and the next reload might wait for ever. So
      # the fibers together have one share: the first brings it, the last takes it along.
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
