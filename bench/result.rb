# frozen_string_literal: true

module Bench
  # The outcome of all runs of a cell.
  class Result
    attr_reader :cell

    def initialize(cell)
      @cell = cell
      @runs = []
      @notes = [cell.refusal, fewer_connections].compact
      @failed = false
    end

    def add(outcome)
      @runs << outcome.figures if outcome.figures
      @notes << outcome.note if outcome.note
      @failed ||= outcome.failed
      @over = outcome.figures.nil?
    end

    # Whether another run would give no figures either.
    def over? = @over
    def failed? = @failed
    def median = Result.median(rates)
    def rates = @runs.map { |run| (run[:operations] / run[:seconds]).round(1) }

    # @param baseline [Float, nil] the median of the target with which we compare the others
    def to_h(baseline)
      { workload: cell.workload.name, target: cell.target.name, rates:, median:, min: rates.min, max: rates.max,
        ratio: ratio(baseline), p50_us: typical(:p50_us), p99_us: typical(:p99_us),
        syscalls_per_op: @runs.filter_map { |run| run[:syscalls_per_op] }.first&.round(3),
        cpu_s_per_mop: Result.median(@runs.map { |run| run[:cpu] / run[:operations] * 1e6 })&.round(3),
        peak_kb: typical(:peak_kb), kb_per_connection: typical(:kb_per_connection), note: note(baseline) }
    end

    def self.median(numbers)
      return if numbers.empty?

      middle = numbers.sort[((numbers.size - 1) / 2)..(numbers.size / 2)]
      middle.sum.fdiv(middle.size).round(6)
    end

    private

    def typical(figure) = Result.median(@runs.filter_map { |run| run[figure] })
    def ratio(baseline) = median && baseline && median.fdiv(baseline).round(3)

    def note(baseline)
      notes = @notes.uniq
      if rates.size > 1 && baseline && cell.target.name != BASELINE &&
         rates.max - rates.min > (median - baseline).abs
        notes << "spread larger than the difference to #{BASELINE}"
      end
      notes.join("; ") unless notes.empty?
    end

    def fewer_connections
      return if cell.refusal || cell.connections == cell.workload.connections

      "#{Table.thousands(cell.connections)} connections, as the limit of descriptors allows"
    end
  end
end
