# frozen_string_literal: true

require "json"
require_relative "table"
require_relative "targets"

module Bench
  # Tells which workloads have become slower or faster than in the figures of an earlier run (--json).
  #
  # When both runs have measured a workload on the baseline, its rates are shares of the baseline's: the two runs may
  # then come from different machines.
  class Comparison
    # The text names only rows whose rate has changed by more than this share.
    WORTH = 0.15

    # @param before [Hash] the content of the file, with symbols for keys
    # @param after [Hash] Document#to_h
    def initialize(before, after)
      @before = before
      @after = after
      @old, @new = [before, after].map do |run|
        measured = run[:results].select { |result| result[:median] }
        measured.to_h { |result| [result.values_at(:workload, :target), result] }
      end
    end

    # @return [Array<Hash>] for each row that both have: its name, both medians, their ratio, the ratio of processor
    #   time, and whether the slowest run of one is faster than the fastest run of the other
    def rows
      (@new.keys & @old.keys).reject { |key| shared?(key.first) && key.last == BASELINE }.map { |key| row(key) }
    end

    def to_s
      changed = rows.select { |row| (row[:ratio] - 1).abs > WORTH && row[:apart] }
      slower, faster = changed.sort_by { |row| row[:ratio] }.partition { |row| row[:ratio] < 1 }
      ["compared with #{machine}#{", as shares of #{BASELINE}'s rates" if rows.any? { |row| row[:shares] }}:",
       "#{slower.size} of #{rows.size} rows lost more than #{percent(WORTH)}, and #{faster.size} gained as much; " \
       "rows whose runs overlap do not count", *[*slower, *faster].map { |row| line(row) }].join("\n")
    end

    private

    def row(key)
      was, now = [@old, @new].map { |run| run.fetch(key) }
      # The new rate that stands for a rate of one in the old run.
      scale = shared?(key.first) ? baseline(@new, key.first, :median).fdiv(baseline(@old, key.first, :median)) : 1
      { name: key.join(" "), was: was[:median], now: now[:median], ratio: now[:median].fdiv(was[:median] * scale),
        processor: processor(was, now, key.first), shares: shared?(key.first),
        apart: now[:max] < was[:min] * scale || now[:min] > was[:max] * scale }
    end

    def shared?(workload) = [@old, @new].all? { |run| run.key?([workload, BASELINE]) }
    def baseline(run, workload, figure) = run.fetch([workload, BASELINE])[figure]

    def processor(was, now, workload)
      figures = [now, was].map { |result| result[:cpu_s_per_mop] }
      return unless figures.all? && figures.last.positive?

      bases = shared?(workload) ? [@new, @old].map { |run| baseline(run, workload, :cpu_s_per_mop) } : [1, 1]
      figures.first.fdiv(figures.last) * bases.last.fdiv(bases.first) if bases.all? { |base| base&.positive? }
    end

    def line(row)
      cpu = format(", processor time of an operation %.2f", row[:processor]) if row[:processor]
      was, now = row.values_at(:was, :now).map { |rate| Table.thousands(rate.round) }
      format("  %-32<name>s %12<was>s -> %12<now>s a second, %<ratio>.2f%<cpu>s",
             **row.slice(:name, :ratio), was:, now:, cpu:)
    end

    def machine = @before.fetch(:machine, {}).values_at(:ruby, :date).compact.join(", ")
    def percent(part) = "#{(part * 100).round} %"
  end
end
