# frozen_string_literal: true

require_relative "isolation"

module UringIO
  # What Rails needs where fibers of a scheduler run its code.
  #
  # A scheduler is refused, by Error, while ActiveRecord is loaded and Rails' isolation_level is not :fiber: the fibers
  # of a thread would use one database connection at the same time. `config.uring_io.check_isolation = false` is for
  # programs whose fibers never use ActiveRecord.
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
