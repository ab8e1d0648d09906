# frozen_string_literal: true

module Bench
  # A row of the table. +program+ is a file of workloads/, and +connections+ its argument. Each connection needs
  # +descriptors+ in the program. +start+ is how many seconds longer than other programs this one takes to start. Rows
  # of a +group+ are the steps of one ladder. +service+ is a server or file that the program needs (services.rb).
  Workload = Data.define(:name, :program, :title, :unit, :about, :group, :connections, :start, :descriptors,
                         :service) do
    def initialize(name:, title:, unit:, about:, program: name.tr("-", "_"), group: nil, connections: nil, start: 0.0,
                   descriptors: 2, service: nil)
      super
    end

    # Thousands of connections take their turns together, so a run must be long enough for some turns.
    def stretch(seconds) = group && connections ? [seconds, connections / 4000.0].max : seconds

    def file = File.join(__dir__, "workloads", "#{program}.rb")
  end

  # All rows, in the order of the table.
  module Workloads
    ECHO = [1, 20, 200, 2000, 10_000].map do |connections|
      Workload.new(name: "echo-#{connections}", program: "echo", unit: "exchanges",
                   title: "TCP echo, #{connections} connection#{'s' if connections > 1}",
                   about: "512 bytes there and back, both ends in one process",
                   group: "echo", connections:, start: connections / 4000.0)
    end
    ALL = [
      *ECHO,
      Workload.new(name: "http", title: "HTTP server", unit: "requests", connections: 64, descriptors: 1,
                   about: "a server in plain Ruby, asked by wrk over 64 kept connections from another process"),
      Workload.new(name: "net-http-small", title: "Net::HTTP, small JSON", unit: "requests", connections: 20,
                   descriptors: 1, about: "20 kept connections to a server in another process"),
      Workload.new(name: "net-http-256k", title: "Net::HTTP, 256 KB", unit: "requests", connections: 20,
                   descriptors: 1, about: "20 kept connections to a server in another process"),
      Workload.new(name: "accept", title: "Accept and close", unit: "connections",
                   about: "connections that 4 clients in another process make"),
      Workload.new(name: "close", title: "Close of a socket pair", unit: "pairs", descriptors: 202,
                   about: "a pair is made and closed while 100 fibers wait for others"),
      Workload.new(name: "pool", title: "Pool of connections", unit: "uses",
                   about: "100 fibers share 5 connections by Mutex and ConditionVariable, an exchange each"),
      Workload.new(name: "fan-out", title: "Fan-out", unit: "gatherings",
                   about: "100 sleeps of 0 to 1 ms started and gathered by a Queue, 4 times at once"),
      Workload.new(name: "timeouts", title: "Timeout.timeout", unit: "limits",
                   about: "50 fibers; 3 of 10 limits of 1 ms pass, and within the others there is an exchange"),
      Workload.new(name: "names", title: "Names of /etc/hosts", unit: "names",
                   about: "Addrinfo.getaddrinfo of localhost by 20 fibers"),
      Workload.new(name: "queue", title: "Ping-pong by two queues", unit: "exchanges",
                   about: "two fibers wake each other by Thread::Queue: no kernel at all"),
      Workload.new(name: "pipe", title: "Lines through 10 pipes", unit: "lines",
                   about: "100 bytes with a fiber between any two pipes, 4 lines at once"),
      Workload.new(name: "tls", title: "TLS echo", unit: "exchanges", connections: 20,
                   about: "512 bytes there and back over 20 connections, both ends in one process"),
      Workload.new(name: "mixed", title: "Small and large messages", unit: "exchanges", connections: 20,
                   about: "three of 100 bytes and one of 64 KB in turn over 20 TCP connections"),
      Workload.new(name: "pg", title: "PostgreSQL", unit: "queries", connections: 10, descriptors: 1,
                   service: :postgresql, about: "SELECT of a number by the gem pg, 10 connections"),
      Workload.new(name: "redis", title: "Redis", unit: "pipelines", connections: 10, descriptors: 1, service: :redis,
                   about: "pipelines of 10 INCR by redis-client, 10 connections"),
      Workload.new(name: "file-warm", title: "File reads, cached", unit: "reads", service: :file,
                   about: "IO#pread of 16 KB at random places of 64 MB by 8 fibers"),
      Workload.new(name: "file-cold", title: "File reads from the disk", unit: "reads", service: :file,
                   about: "the same, where the kernel was told to forget the place before"),
      Workload.new(name: "idle", title: "Idle connections", unit: "exchanges", connections: 10_000, descriptors: 1,
                   start: 2.0, about: "10,000 connections from another process, 1 % of which exchange 512 bytes")
    ].freeze

    class << self
      def find(name) = ALL.find { |workload| workload.name == name }
      def names = ALL.map(&:name)
    end
  end
end
