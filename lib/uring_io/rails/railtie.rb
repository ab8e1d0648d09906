# frozen_string_literal: true

require_relative "isolation"
require_relative "run"

module UringIO
  # The gem's part in a Rails program. docs/rails.md explains how to use it.
  #
  # Scheduler.new raises Error while ActiveRecord is loaded and Rails' isolation_level is not :fiber: the fibers of a
  # thread would use one database connection at the same time. Programs whose fibers never use ActiveRecord may set
  # `config.uring_io.check_isolation = false`.
  #
  # Inside of a request, a job or another execution of Rails' executor, each fiber of UringIO.run is an execution as
  # well: when it ends, it gives its database connection back, and Rails.error gets its exceptions. It shares neither
  # the connection nor the transaction of its caller, and begins with an empty Current.
  #
  # With `inherit: :execution_state` a fiber begins with a copy of the state of the fiber that schedules it:
  #
  # - the attributes of Current and other CurrentAttributes;
  # - Time.zone, Date.beginning_of_week and I18n.locale;
  # - the tags of loggers, and the context of Rails.error;
  # - the database role and shard;
  # - values of thread_mattr_accessor that are strings or cannot change.
  #
  # The copy has no scope of ActiveRecord, no query cache and no transaction.
  module Rails
    if defined?(::Rails::Railtie)
      class Railtie < ::Rails::Railtie # :nodoc:
        config.uring_io = ::ActiveSupport::OrderedOptions.new
        config.uring_io.check_isolation = true
        Isolation.options = config.uring_io
      end
      private_constant :Railtie
    end
  end
end
