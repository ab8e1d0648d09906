# frozen_string_literal: true

require "etc"
require "time"

module Bench
  # The machine and the versions of a measurement.
  module Machine
    GEMS = %w[async io-event async-http pg redis-client uringmachine carbon_fiber itsi-scheduler libev_scheduler].freeze

    class << self
      def to_h
        @to_h ||= { ruby: RUBY_DESCRIPTION, kernel: Etc.uname[:release],
                    cpu: File.read("/proc/cpuinfo")[/^model name\s*:\s*(.+)$/, 1] || Etc.uname[:machine],
                    cpus: Etc.nprocessors, memory_mb: File.read("/proc/meminfo")[/^MemTotal:\s+(\d+)/, 1].to_i / 1024,
                    load: File.read("/proc/loadavg").to_f, gems:, date: Time.now.utc.iso8601 }
      end

      def to_s
        versions = to_h[:gems].map { |name, version| "#{name} #{version}" }.join(", ")
        "Ruby #{RUBY_VERSION}, #{versions}, Linux #{to_h[:kernel]}, #{to_h[:cpus]} processors (#{to_h[:cpu]}), " \
          "load #{to_h[:load]}"
      end

      private

      def gems
        require_relative "../lib/uring_io/version"
        found = GEMS.filter_map do |name|
          specification = Gem::Specification.find_all_by_name(name).first
          [name, specification.version.to_s] if specification
        end
        { "uring_io" => UringIO::VERSION, **found.to_h }
      end
    end
  end
end
