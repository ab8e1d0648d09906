# frozen_string_literal: true

# Makes one example group for each backend of this system. Skips the backends that this machine lacks, with the reason
# that UringIO.support gives.
module Backends
  ALL = UringIO.support.backends.values.reject { |backend| backend.reason == :platform }.map(&:name).freeze
  CHOSEN = (ENV["URING_IO_SPEC_BACKENDS"] || ALL.join(",")).split(",").map { |name| name.strip.to_sym }.freeze

  unknown = CHOSEN - ALL
  raise ArgumentError, "URING_IO_SPEC_BACKENDS: there is no #{unknown.join(', ')}" if unknown.any?

  class << self
    # The reason why a backend cannot be used here, or nil when it can.
    def missing(backend)
      found = UringIO.support.backends.fetch(backend)
      return if found.available?

      "#{backend} is not available on #{UringIO.support.kernel[:release]}: #{found.reason}, #{found.cause}"
    end
  end

  # Declares the block's examples once per backend. Within them +backend+ is its name.
  def each_backend(only: ALL, **metadata, &block)
    (CHOSEN & only).each do |backend|
      reason = Backends.missing(backend)
      metadata = metadata.merge(skip: reason) if reason
      context "on #{backend}", **metadata, backend: do
        let(:backend) { backend }
        class_exec(backend, &block)
      end
    end
  end
end

RSpec.configure do |config|
  config.extend Backends
  config.before(:suite) do
    left_out = Backends::ALL - Backends::CHOSEN
    note = left_out.any? ? " (URING_IO_SPEC_BACKENDS leaves out #{left_out.join(', ')})" : ""
    config.reporter.message("Ruby #{RUBY_VERSION}, backends: #{Backends::CHOSEN.join(', ')}#{note}")
  end
end
