# frozen_string_literal: true

require "fileutils"
require "tmpdir"
require_relative "../spec/support/postgresql"
require_relative "../spec/support/redis"

module Bench
  # The services that programs need. Each one starts at its first use, once for all runs.
  class Services
    FILE_BYTES = 64 << 20

    # @return [String, nil] why the service cannot be had; nil when it can
    def self.missing(service)
      case service
      when :postgresql then PostgreSQL.missing
      when :redis then RedisServer.missing
      end
    end

    def initialize
      @stops = []
    end

    # @return [Hash] environment variables that tell a program where the service is
    def env(service)
      @env ||= {}
      @env[service] ||= service ? start(service) : {}
    end

    def stop
      @stops.reverse_each(&:call)
    end

    private

    def start(service)
      case service
      when :postgresql
        server = stopped_later(PostgreSQL.new)
        { "BENCH_POSTGRESQL" => server.parameters.fetch(:host) }
      when :redis then { "BENCH_REDIS" => stopped_later(RedisServer.new).path }
      when :file then { "BENCH_FILE" => file }
      end
    end

    def stopped_later(server)
      @stops << -> { server.stop }
      server
    end

    # A file that is not in /tmp, which may be in memory.
    def file
      folder = Dir.mktmpdir("uring_io-bench-", Dir.pwd)
      @stops << -> { FileUtils.remove_entry(folder) }
      File.join(folder, "data").tap do |path|
        File.open(path, "wb") do |file|
          file.write(Random.bytes(FILE_BYTES))
          # The kernel cannot drop pages that are not on the disk yet.
          file.fsync
        end
      end
    end
  end
end
