# frozen_string_literal: true

module Bench
  # A row: +program+ is a file of workloads/, and +connections+ its argument. +start+ is how many seconds it takes to
  # start beyond what any program takes; rows of a +group+ are the steps of one ladder; +most+ says up to how many
  # connections a target can, by its name; +descriptors+ is how many each connection needs in the program.
  Workload = Data.define(:name, :program, :title, :unit, :about, :group, :connections, :start, :descriptors) do
    def initialize(name:, title:, unit:, about:, program: name, group: nil, connections: nil, start: 0.0,
                   descriptors: 2)
      super
    end

    def file = File.join(__dir__, "workloads", "#{program}.rb")
  end

  # All rows, in the order of the table.
  module Workloads
    ECHO = [1, 20, 200, 2000, 10_000].map do |connections|
      Workload.new(name: "echo-#{connections}", program: "echo", title: "TCP echo, #{connections} connections",
                   unit: "exchanges", about: "512 bytes there and back, both ends in one process",
                   group: "echo", connections:, start: connections / 4000.0)
    end
    ALL = [
      *ECHO,
      Workload.new(name: "queue", title: "Ping-pong by two queues", unit: "exchanges",
                   about: "two fibers wake each other by Thread::Queue: no kernel at all")
    ].freeze

    class << self
      def find(name) = ALL.find { |workload| workload.name == name }
      def names = ALL.map(&:name)
    end
  end
end
