# frozen_string_literal: true

require "json"
require_relative "table"

module Bench
  # Tells which workloads have become slower or faster than in the figures of an earlier run (--json).
  class Comparison
    # The text names only rows whose rate has changed by more than this share.
    WORTH = 0.15

    # @param before [Hash] the content of the file, with symbols for keys
    # @param after [Hash] Document#to_h
    def initialize(before, after)
      @before = before
      @after = after
    end

    # @return [Array<Hash>] for each row that both have: its name, both medians, their ratio, the ratio of processor
    #   time, and whether the slowest run of one is faster than the fastest run of the other
    def rows
      old = @before[:results].to_h { |result| [result.values_at(:workload, :target), result] }
      @after[:results].filter_map do |now|
        was = old[now.values_at(:workload, :target)]
        row(was, now) if was && was[:median] && now[:median]
      end
    end

    def to_s
      changed = rows.select { |row| (row[:ratio] - 1).abs > WORTH && row[:apart] }
      slower, faster = changed.sort_by { |row| row[:ratio] }.partition { |row| row[:ratio] < 1 }
      ["compared with #{machine}:", "#{slower.size} of #{rows.size} rows lost more than #{percent(WORTH)}, and " \
                                    "#{faster.size} gained as much; rows whose runs overlap do not count",
       *[*slower, *faster].map { |row| line(row) }].join("\n")
    end

    private

    def row(was, now)
      { name: "#{now[:workload]} #{now[:target]}", was: was[:median], now: now[:median],
        ratio: now[:median].fdiv(was[:median]), processor: processor(was, now),
        apart: now[:max] < was[:min] || now[:min] > was[:max] }
    end

    def processor(was, now)
      figures = [now, was].map { |result| result[:cpu_s_per_mop] }
      figures.first.fdiv(figures.last) if figures.all? && figures.last.positive?
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
