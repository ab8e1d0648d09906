# frozen_string_literal: true

require_relative "isolation"
require_relative "run"

module UringIO
  # What the gem does where Rails is; docs/rails.md tells how to use it.
  #
  # A scheduler is refused, by Error, while ActiveRecord is loaded and Rails' isolation_level is not :fiber: the fibers
  # of a thread would use one database connection at the same time. `config.uring_io.check_isolation = false` is for
  # programs whose fibers never use ActiveRecord.
  #
  # Inside of a request, a job or another execution of Rails' executor, each fiber of UringIO.run is an execution as
  # well: it gives its database connection back when it ends, and Rails.error is told what it raises. It shares neither
  # the connection nor the transaction of its caller, and begins with an empty Current. With `inherit:
  # :execution_state` it begins with a copy of what the fiber that schedules it has: the attributes of Current and its
  # like, Time.zone, Date.beginning_of_week, I18n.locale, the tags of loggers, the context of Rails.error, the database
  # role and shard, and values by thread_mattr_accessor that are strings or cannot change. No scope of ActiveRecord, no
  # query cache and no transaction is copied.
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
