# frozen_string_literal: true

require_relative "uring_io/version"
require_relative "uring_io/errors"
require_relative "uring_io/native"
require_relative "uring_io/worker_threads"
require_relative "uring_io/process_wait"
require_relative "uring_io/wait"
require_relative "uring_io/scheduler"
require_relative "uring_io/selector"
require_relative "uring_io/support"
require_relative "uring_io/ring"
require_relative "uring_io/run"
require_relative "uring_io/trace"
require_relative "uring_io/core_ext/fork"
require_relative "uring_io/core_ext/pwrite"
require_relative "uring_io/core_ext/close"
require_relative "uring_io/core_ext/flock"
# This variable lets `uring_io fibers` ask the program what its fibers wait for: see docs/stuck.md.
require_relative "uring_io/core_ext/inspection" if ENV["URING_IO_INSPECT"] == "1"
unless ENV["URING_IO_TRACE"].to_s.empty?
  UringIO::Trace.follow(ENV.fetch("URING_IO_TRACE"), ENV.fetch("URING_IO_TRACE_RECORDS", nil))
end
# A railtie is how a gem extends Rails. Without Rails there is nothing to extend.
require_relative "uring_io/rails/railtie" if defined?(Rails::Railtie)
