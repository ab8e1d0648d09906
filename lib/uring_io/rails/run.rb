# frozen_string_literal: true

require_relative "isolation"
require_relative "scheduler"

module UringIO
  module Rails
    # Prepended to UringIO's own methods: it makes the scheduler of UringIO.run in a Rails program.
    module Run
      private

      def scheduler_for(inherit, options)
        return super unless defined?(::ActiveSupport::IsolatedExecutionState)
        unless [nil, :execution_state].include?(inherit)
          raise ArgumentError, "inherit: must be :execution_state or nil, and is #{inherit.inspect}"
        end

        # With :thread, all fibers have the caller's state anyway.
        executor = Run.executor if Isolation.fiber?
        return super(nil, options) unless Isolation.fiber? && (executor || inherit)

        # A program may have loaded only ActiveSupport::IsolatedExecutionState. The require makes the rest autoload.
        require "active_support" if inherit
        scheduler = Scheduler.new(**options)
        scheduler.surround(executor:, inherit: !inherit.nil?, interlock: executor && Run.interlock)
        scheduler
      end

      class << self
        # Rails' executor, when the caller is in one of its executions: a request, a job, `bin/rails runner`. Elsewhere
        # a fiber may live as long as the program, so it wraps each piece of its work itself, as a thread does.
        # @raise [Error] when Rails allows only one execution at a time
        def executor
          application = ::Rails.application if defined?(::Rails.application)
          return unless application&.executor&.active?
          return application.executor unless application.config.allow_concurrency == false

          raise Error, "config.allow_concurrency is false: Rails lets one execution run at a time, and fibers of " \
                       "UringIO.run would wait for their caller for ever. Take the line out, or use no fibers here"
        end

        # The lock that Rails' executions share, when Rails reloads classes.
        def interlock
          config = ::Rails.application.config
          ::ActiveSupport::Dependencies.interlock unless config.cache_classes || config.allow_concurrency == :unsafe
        end
      end
    end

    private_constant :Run
    UringIO.singleton_class.prepend(Run)
  end
end
