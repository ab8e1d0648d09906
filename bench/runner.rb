# frozen_string_literal: true

require_relative "measurement"
require_relative "progress"
require_relative "result"

module Bench
  # Carries out a plan.
  class Runner
    # Seconds beyond its time that a program may need on a busy machine.
    GRACE_SECONDS = 30

    # @return [Array<Hash>] for the table and the report
    attr_reader :results

    def initialize(plan)
      @plan = plan
      @results = []
      @failed = false
      @services = Services.new
    end

    # Yields the results of each workload when they are complete.
    def run
      progress = Progress.new(@plan)
      @plan.workloads.each do |workload|
        found = @plan.cells(workload).to_h { |cell| [cell, Result.new(cell)] }
        @plan.runs.times do |round|
          @plan.round(workload, round).each do |cell|
            progress.step(cell, round) { measure(cell, found[cell], round) unless found[cell].over? }
          end
        end
        progress.clear
        yield finish(found.values)
      end
    ensure
      @services.stop
    end

    def failed? = @failed

    private

    def measure(cell, result, round)
      limit = (@plan.cost_of(cell.workload) * 2) + GRACE_SECONDS
      # Once is enough, because the number of system calls hardly varies.
      counting = @plan.counting_seconds(cell.workload) if round.zero?
      command = @plan.command(cell, @services.env(cell.workload.service))
      result.add(Measurement.new(command, limit, counting:, turn: cell.connections).run)
    end

    def finish(found)
      baseline = found.find { |result| result.cell.target.name == BASELINE }&.median
      @failed ||= found.any?(&:failed?)
      found.map { |result| result.to_h(baseline) }.tap { |hashes| @results.concat(hashes) }
    end
  end
end
