# frozen_string_literal: true

require_relative "availability"
require_relative "machine"
require_relative "progress"
require_relative "table"

module Bench
  # The description of a run: as text before the rows, and together with the results as a hash for a file.
  class Document
    BUSY_LOAD = 0.5

    def initialize(plan, runner)
      @plan = plan
      @runner = runner
    end

    # @param quick [Boolean] whether --quick left targets out
    def introduce(quick)
      puts Machine, plan_in_words
      puts "each program is run by ruby #{@plan.flags.join(' ')}" if @plan.flags.any?
      puts "left out by --quick: #{(Targets.names - Targets::MAIN).join(', ')}" if quick
      missing.each { |target, why| puts "#{target.name}: #{why}" }
      puts SystemCalls.missing if SystemCalls.missing
      warn_of_load
      puts "", Table.head
    end

    # In each result, :rates has a figure for each run, in the order of the runs.
    def to_h
      { machine: Machine.to_h, runs: @plan.runs, seconds: @plan.seconds, flags: @plan.flags, baseline: BASELINE,
        targets: @plan.targets.map { |target| { **target.to_h.slice(:name, :title), note: missing[target] } },
        workloads: @plan.workloads.map do |workload|
          workload.to_h.slice(:name, :title, :unit, :about, :group, :connections)
        end,
        results: @runner.results }
    end

    private

    def missing
      @missing ||= @plan.targets.to_h { |target| [target, Availability.missing(target)] }.compact
    end

    def plan_in_words
      "#{@plan.all_cells.size} programs, #{@plan.runs} run#{'s' if @plan.runs > 1} of #{@plan.seconds} s each: about " \
        "#{Progress.in_words(@plan.estimate)}; ratios are to #{BASELINE}"
    end

    def warn_of_load
      return if Machine.to_h[:load] < BUSY_LOAD

      puts "something else runs on this machine (load #{Machine.to_h[:load]}): the figures will not say much"
    end
  end
end
