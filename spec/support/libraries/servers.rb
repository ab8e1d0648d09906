# frozen_string_literal: true

require_relative "../libraries"
require_relative "../mariadb"
require_relative "../postgresql"
require_relative "../redis"
require_relative "gate"
require_relative "gate_proxy"
require_relative "http_server"

module Libraries
  # The servers that rows use. Each is started at its first use, with the gate before it or inside of it.
  class Servers
    Started = Struct.new(:address, :parts)

    class << self
      # Why there is no such server here; nil when there is.
      def missing(name)
        case name
        when :postgresql then PostgreSQL.missing
        when :redis then RedisServer.missing
        when :mariadb then MariaDB.missing
        end
      end
    end

    # The gate of the present example.
    attr_accessor :gate

    def initialize
      @started = {}
    end

    # What a process needs to reach the server.
    def address(name)
      return {} unless name

      (@started[name] ||= send(name)).address
    end

    def stop
      @started.each_value { |started| started.parts.each(&:stop) }
      @started.clear
    end

    private

    def http
      server = HTTPServer.new(-> { gate })
      Started.new(server.address, [server])
    end

    def postgresql
      server = PostgreSQL.new
      parameters = server.parameters
      proxy = proxy(File.join(parameters[:host], ".s.PGSQL.5432"))
      address = parameters.merge(host: "127.0.0.1", port: proxy.port, sslmode: "disable", gssencmode: "disable")
      Started.new(address, [proxy, server])
    end

    def redis
      server = RedisServer.new
      proxy = proxy(server.path)
      Started.new({ host: "127.0.0.1", port: proxy.port }, [proxy, server])
    end

    def mariadb
      server = MariaDB.new
      proxy = proxy(server.path)
      Started.new({ host: "127.0.0.1", port: proxy.port, username: "root" }, [proxy, server])
    end

    def proxy(path)
      GateProxy.new(-> { gate }) { UNIXSocket.new(path) }
    end
  end
end
