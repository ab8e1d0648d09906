# frozen_string_literal: true

module UringIO
  module Rails
    # Scheduler.new raises when its fibers would share a database connection.
    #
    # Rails keeps the connection of a caller, and all the state of a request, either for each thread (isolation_level
    # :thread, its default) or for each fiber (:fiber). With :thread the fibers of a scheduler use one connection of
    # libpq at the same time, which crashes the process or mixes up the answers. Rails sets the level while it boots,
    # so we check it when somebody makes a scheduler. That takes two comparisons.
    module Isolation
      class << self
        # The program's `config.uring_io`, when there is a Railtie.
        # @return [ActiveSupport::OrderedOptions, nil]
        attr_accessor :options

        # @raise [Error] when fibers would share a connection, unless the program has set check_isolation to false
        def check
          return unless defined?(::ActiveRecord) && defined?(::ActiveSupport::IsolatedExecutionState)
          return if fiber? || !wanted?

          raise Error, "ActiveRecord is loaded, and isolation_level is " \
                       "#{::ActiveSupport::IsolatedExecutionState.isolation_level.inspect}: all fibers of a thread " \
                       "would use one database connection at the same time, which crashes the process. #{cure}"
        end

        # Whether Rails keeps its state for each fiber.
        def fiber?
          ::ActiveSupport::IsolatedExecutionState.isolation_level == :fiber
        end

        private

        def wanted?
          options.nil? || options.check_isolation
        end

        def cure
          application = ::Rails.application if defined?(::Rails.application)
          return "Write `ActiveSupport::IsolatedExecutionState.isolation_level = :fiber` first." unless application

          late = unless application.initialized?
                   " Rails applies it at the end of its boot: in a file of config/initializers, put what uses a " \
                     "scheduler into `Rails.application.config.after_initialize { ... }`."
                 end
          "Write `config.active_support.isolation_level = :fiber` in config/application.rb.#{late} Where no fiber " \
            "ever uses ActiveRecord, `config.uring_io.check_isolation = false` allows it as it is."
        end
      end

      # Extends UringIO::Scheduler.
      def new(...)
        Isolation.check
        super
      end
    end

    private_constant :Isolation
    Scheduler.extend(Isolation)
  end
end
