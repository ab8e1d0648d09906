# frozen_string_literal: true

require_relative "../libraries"
require_relative "../mariadb"
require_relative "../memcached"
require_relative "../postgresql"
require_relative "../redis"
require_relative "../sshd"
require_relative "gate"
require_relative "gate_proxy"
require_relative "http_server"
require_relative "mail_server"
require_relative "name_server"
require_relative "object_server"
require_relative "web_socket_server"

module Libraries
  # The servers that rows use. Each starts at its first use, with the gate in front of it or inside of it.
  class Servers
    # The suite's own servers.
    OWN = { http: HTTPServer, https: HTTPSServer, mail: MailServer, names: NameServer,
            objects: ObjectServer, web_sockets: WebSocketServer }.freeze
    REAL = { mariadb: MariaDB, memcached: Memcached, postgresql: PostgreSQL, redis: RedisServer, ssh: SSHD }.freeze

    Started = Struct.new(:address, :parts)

    class << self
      # The reason why there is no such server here, or nil when there is one.
      def missing(name)
        kind = OWN.merge(REAL)[name]
        kind.missing if kind.respond_to?(:missing)
      end
    end

    # The gate of the current example.
    attr_accessor :gate

    def initialize
      @started = {}
    end

    # Returns how a process reaches the server.
    def address(name)
      return {} unless name

      @started[name] ||= OWN.key?(name) ? own(name) : send(name)
      @started[name].address
    end

    def stop
      @started.each_value { |started| started.parts.each(&:stop) }
      @started.clear
    end

    private

    def own(name)
      server = OWN.fetch(name).new(-> { gate })
      Started.new(server.address, [server])
    end

    def mariadb
      behind_the_gate(MariaDB.new, username: "root", &:path)
    end

    def memcached
      behind_the_gate(Memcached.new, &:path)
    end

    def postgresql
      server = PostgreSQL.new
      parameters = server.parameters
      behind_the_gate(server, **parameters, sslmode: "disable", gssencmode: "disable") do
        File.join(parameters[:host], ".s.PGSQL.5432")
      end
    end

    def redis
      behind_the_gate(RedisServer.new, &:path)
    end

    # The commands run over ssh ask the HTTP server, because a gate cannot read encrypted data.
    def ssh
      server = SSHD.new
      Started.new(server.parameters.merge(address(:http)), [server])
    end

    def behind_the_gate(server, **parameters)
      proxy = GateProxy.new(-> { gate }, yield(server))
      Started.new(parameters.merge(proxy.address), [proxy, server])
    end
  end
end
