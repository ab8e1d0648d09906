# frozen_string_literal: true

require "rbconfig"
require_relative "availability"
require_relative "services"
require_relative "targets"
require_relative "workloads"

module Bench
  # Which programs run on which targets, how often, for how long, and in which order.
  class Plan
    # Seconds that each measurement takes to start, and seconds that counting system calls takes, once for each cell.
    START_SECONDS = 0.3
    COUNTING_SECONDS = 0.5
    TRACER_SECONDS = 0.2
    SHORTEST = 0.3
    LONGEST = 2.0
    # Descriptors that a program needs for other things than its connections.
    SPARE_DESCRIPTORS = 64
    THREADS_MOST = 2000
    SELECT_MOST = 1000

    # A workload on a target. +refusal+ says why it does not run; nil when it runs.
    Cell = Data.define(:workload, :target, :refusal, :connections)

    attr_reader :workloads, :targets, :runs, :counting, :flags

    # @param seconds [Float, nil] of each measurement; by default as many as +minutes+ allow
    # @param flags [Array<String>] for the Ruby of each program, for example --yjit
    def initialize(workloads, targets, runs:, minutes:, seconds: nil, counting: COUNTING_SECONDS, flags: [])
      @workloads = workloads
      @targets = targets
      @runs = runs
      @minutes = minutes
      @seconds = seconds
      @counting = counting
      @flags = flags
    end

    def cells(workload)
      @cells ||= {}
      @cells[workload] ||= targets.map do |target|
        Cell.new(workload, target, refusal(workload, target), connections(workload))
      end
    end

    # The cells of a round. Each round begins with another cell, and every other round goes backwards. So the traces
    # that a cell leaves on the machine do not always meet the same next one.
    def round(workload, number)
      some = cells(workload).reject(&:refusal)
      number.odd? ? some.rotate(number).reverse : some.rotate(number)
    end

    def seconds
      @seconds ||= begin
        rest = (@minutes * 60) - cost(0)
        (rest / [runs * all_cells.size, 1].max).clamp(SHORTEST, LONGEST).floor(2)
      end
    end

    # Seconds that everything will take.
    def estimate = cost(seconds)

    # Seconds that a run of the workload takes.
    def cost_of(workload, seconds = self.seconds)
      START_SECONDS + workload.start + Bench.warm_up(workload.connections) + workload.stretch(seconds)
    end

    def counting_seconds(workload) = workload.stretch(counting)
    def counting_cost(workload) = counting_seconds(workload) + TRACER_SECONDS

    def all_cells = workloads.flat_map { |workload| cells(workload).reject(&:refusal) }

    # @param env [Hash] of the workload's service
    def command(cell, env)
      seconds = cell.workload.stretch(self.seconds)
      return [env, *Floor.command(cell.connections, seconds)] unless cell.target.ruby?

      [env.merge(cell.target.env), RbConfig.ruby, "-W:no-experimental", *flags, *cell.target.options,
       cell.workload.file, cell.target.name, seconds.to_s, cell.connections.to_s]
    end

    private

    def cost(seconds)
      all_cells.sum { |cell| (runs * cost_of(cell.workload, seconds)) + counting_cost(cell.workload) }
    end

    def refusal(workload, target)
      missing = Availability.missing(target) || Services.missing(workload.service)
      return missing if missing
      return "no floor for this" if !target.ruby? && workload.group != "echo"

      most(workload, target) if workload.connections
    end

    def most(workload, target)
      if target.spawns_threads? && workload.connections > THREADS_MOST
        "threads stop at #{Table.thousands(THREADS_MOST)} connections"
      elsif target.name == "select" && workload.connections * workload.descriptors > SELECT_MOST
        "select knows no descriptor above 1,023"
      end
    end

    # The connections of the workload, or as many as the limit of descriptors allows.
    def connections(workload)
      most = (Process.getrlimit(:NOFILE).last - SPARE_DESCRIPTORS) / workload.descriptors
      [workload.connections, most].compact.min if workload.connections
    end
  end
end
