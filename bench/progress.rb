# frozen_string_literal: true

module Bench
  # Prints on standard error which cell the runner measures, and how much time is left.
  class Progress
    def self.in_words(seconds) = seconds < 100 ? "#{seconds.ceil} s" : "#{(seconds / 60).ceil} minutes"

    def initialize(plan)
      @plan = plan
      @done = 0.0
      @begun = now
      @said = nil
    end

    def step(cell, round)
      say(cell, round)
      yield
      @done += @plan.cost_of(cell.workload) + (round.zero? ? @plan.counting_cost(cell.workload) : 0)
    end

    # Clears the line of a terminal, for the table.
    def clear
      $stderr.write("\r\e[K") if $stderr.tty?
    end

    private

    def say(cell, round)
      left = @plan.estimate - @done
      # The time that the runs have really taken is a better estimate than the plan.
      left *= (now - @begun) / @done if @done > 10
      if $stderr.tty?
        $stderr.write("\r\e[K#{head(cell, round)}, #{cell.target.name}; #{time(left)} to go")
      elsif @said != head(cell, round)
        @said = head(cell, round)
        warn "#{@said}; #{time(left)} to go"
      end
    end

    def head(cell, round) = "#{cell.workload.name}: run #{round + 1} of #{@plan.runs}"
    def time(seconds) = Progress.in_words(seconds)
    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
