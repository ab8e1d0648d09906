# frozen_string_literal: true

require "open3"
require_relative "targets"

module Bench
  # The same exchange without Ruby (crates/uring_io_core/benches/echo.rs). Cargo builds it when it is first needed.
  module Floor
    BUILD = %w[cargo bench --quiet --no-run --message-format=json --package uring_io_core --bench echo].freeze

    class << self
      # @return [String, nil] why the program cannot be had; nil when it can
      def missing
        build
        @missing
      end

      def command(connections, seconds)
        build
        [@program, connections.to_s, seconds.to_s, Bench.warm_up(connections).to_s]
      end

      private

      def build
        return if @program || @missing

        output, status = Open3.capture2(*BUILD, chdir: File.expand_path("..", __dir__))
        @program = output.scan(/"executable":"([^"]+)"/).last&.first if status.success?
        @missing = "does not compile" unless @program
      rescue Errno::ENOENT
        @missing = "cargo is not installed"
      end
    end
  end
end
