# frozen_string_literal: true

require_relative "numbers"

module Bench
  # Says in plain sentences what the numbers show, and what they do not show.
  class Sentences
    include Numbers

    SUBJECT = "io_uring"
    # No scheduler can be faster than this.
    FLOOR = "floor"
    # These targets use io_uring, too. If one of them is faster, that does not mean that io_uring is no help.
    ON_RING = [SUBJECT, "sqpoll", "async-uring", "async+uring_io", "uringmachine"].freeze
    # The page warns the reader when the fastest run has more than this many times the rate of the slowest.
    UNSTEADY = 1.3
    # The page mentions a measure without a spread only from this ratio on.
    DEARER = 1.25
    # A list of more names than this is left out.
    NAMED = 6
    TALLY = { faster: "faster", slower: "slower", same: "no different (the runs overlap)",
              unsure: "run too few times to tell" }.freeze
    COSTS = {
      "p99_us" => ["Slowest answers (p99)", "take longer"],
      "cpu_s_per_mop" => ["Processor time per operation", "is more"],
      "peak_kb" => ["Memory at its peak", "is more"]
    }.freeze

    def initialize(results)
      @results = results
      @rivals = [results.baseline, "epoll", "threads"].compact.uniq - [SUBJECT]
    end

    # The beginning of the page.
    def summary
      return ["#{SUBJECT} has no result here#{because(target_note(SUBJECT))}."] if subject_workloads.empty?

      [*@rivals.filter_map { |rival| tally(rival) }, extremes, winners, floor].compact
    end

    # Where io_uring is no help, or costs more.
    def no_help
      slower = subject_workloads.filter_map { |workload| slower_on(workload) }
      same = @rivals.filter_map { |rival| same_as(rival) }
      [*slower, *same, *costs]
    end

    def workload(workload)
      name = workload["name"]
      compared = @rivals.filter_map { |rival| @results.compare(name, SUBJECT, rival) }
      [*compared.map { |comparison| compared_on(workload, comparison) }, fastest(workload), *not_run(name)].compact
    end

    # How the figures of a group of workloads change with the number of connections.
    def ladder(rungs)
      chosen = [SUBJECT, *@rivals]
      top = rungs.last
      leads = @rivals.filter_map { |rival| lead(rungs, rival) }
      [growth(rungs), *leads, calls_at(top, chosen), memory_at(top, chosen), *not_reached(rungs)].compact
    end

    # Targets without any result.
    def missing
      @results.missing.map { |target| "#{target['name']}: #{target['note'] || 'no result, and no reason was given'}" }
    end

    # Warnings about runs that say little.
    def cautions
      single = @results.cells.select { |cell| cell.run? && cell.rates.size < 2 }
      [*(once if single.any?), *unsteady]
    end

    private

    def subject_workloads
      @results.workloads.select { |workload| @results.cell(workload["name"], SUBJECT) }
    end

    def comparisons(rival)
      @results.workloads.filter_map { |workload| @results.compare(workload["name"], SUBJECT, rival) }
    end

    def target_note(name) = @results.targets.find { |target| target["name"] == name }&.fetch("note", nil)

    def because(note) = note ? " (#{note})" : ""

    def per_second(workload) = "#{workload['unit'] || 'operations'} a second"

    def workloads(number) = number == 1 ? "1 workload" : "#{number} workloads"

    def names(comparisons) = list(comparisons.map { |comparison| comparison.one.workload })

    def range(cell) = "#{cell.target} (#{number(cell.min)} to #{number(cell.max)})"

    def tally(rival)
      by_verdict = comparisons(rival).group_by(&:verdict)
      return if by_verdict.empty?

      parts = TALLY.filter_map do |verdict, words|
        found = by_verdict[verdict] or next
        "#{words} on #{found.size}#{" (#{names(found)})" if found.size <= NAMED}"
      end
      "Of #{workloads(by_verdict.values.sum(&:size))} #{SUBJECT} is, against #{rival}, #{parts.join('; ')}."
    end

    def extremes
      all = comparisons(@results.baseline)
      return if all.size < 2

      least, most = all.minmax_by(&:ratio)
      "The most that #{SUBJECT} reaches is #{number(most.ratio)} of #{@results.baseline}, on #{most.one.workload}; " \
        "the least is #{number(least.ratio)}, on #{least.one.workload}."
    end

    def winners
      first = @results.workloads.filter_map { |workload| ranked(workload["name"]).first&.target }.tally
      return if first.empty?

      counts = first.sort_by { |_, wins| -wins }.map { |target, wins| "#{target} on #{wins}" }
      "The highest median is that of #{list(counts)}#{", #{FLOOR} not counted" if ran?(FLOOR)}."
    end

    def floor
      all = comparisons(FLOOR)
      return if all.empty?

      least, most = all.minmax_by(&:ratio)
      "Of what #{FLOOR} reaches, #{SUBJECT} has between #{number(least.ratio)} (#{least.one.workload}) " \
        "and #{number(most.ratio)} (#{most.one.workload})."
    end

    def ran?(target) = @results.cells.any? { |cell| cell.run? && cell.target == target }

    # The cells of a workload except the floor, the fastest first.
    def ranked(name) = @results.run_of(name).reject { |cell| cell.target == FLOOR }.sort_by { |cell| -cell.median }

    def slower_on(workload)
      name = workload["name"]
      rivals = ranked(name).map(&:target) - ON_RING
      slower = rivals.filter_map { |rival| @results.compare(name, SUBJECT, rival) }
                     .select { |comparison| comparison.verdict == :slower || lower_in_one_run?(comparison) }
      return if slower.empty?

      worst, *rest = slower
      others = rest.map { |comparison| "#{number(comparison.ratio)} of #{comparison.other.target}" }
      "On #{name} #{difference(workload, worst)}#{"; it is #{list(others)}" if others.any?}#{unsure(slower)}."
    end

    def lower_in_one_run?(comparison) = comparison.verdict == :unsure && comparison.ratio < 1

    def unsure(comparisons)
      ", but one run cannot tell" if comparisons.any? { |comparison| comparison.verdict == :unsure }
    end

    def difference(workload, comparison)
      "#{SUBJECT} is #{number(comparison.ratio)} of #{comparison.other.target}: #{number(comparison.one.median)} " \
        "against #{number(comparison.other.median)} #{per_second(workload)}"
    end

    def same_as(rival)
      same = comparisons(rival).select { |comparison| comparison.verdict == :same }
      return if same.empty?

      "On #{names(same)} the spread of the runs is larger than the difference between #{SUBJECT} and #{rival}: " \
        "no difference to speak of."
    end

    def costs
      COSTS.filter_map do |measure, (what, more)|
        dearer = comparisons(@results.baseline).filter_map do |comparison|
          times = times(comparison, measure)
          "#{comparison.one.workload} (#{number(times)} times)" if times && times >= DEARER
        end
        "#{what} #{more} with #{SUBJECT} than with #{@results.baseline} on #{list(dearer)}." if dearer.any?
      end
    end

    def times(comparison, measure)
      one, other = [comparison.one, comparison.other].map { |cell| cell[measure] }
      one.fdiv(other) if one && other&.positive?
    end

    def compared_on(workload, comparison)
      one = comparison.one
      other = comparison.other
      return "#{difference(workload, comparison)}#{unsure([comparison])}." unless comparison.verdict == :same

      "The spread of #{range(one)} and #{range(other)} is larger than the difference: no difference to speak of."
    end

    def fastest(workload)
      best = ranked(workload["name"]).first
      return unless best && best.target != SUBJECT

      "The highest median is that of #{best.target}: #{number(best.median)} #{per_second(workload)}."
    end

    # Cells without a result, by the reason. The page names targets that have no result at all only once.
    def not_run(name)
      gone = @results.missing.map { |target| target["name"] }
      cells = @results.cells_of(name).reject { |cell| cell.run? || gone.include?(cell.target) }
      cells.group_by(&:note).map { |note, list| "Not run: #{list(list.map(&:target))}#{because(note)}." }
    end

    def growth(rungs)
      steps = rungs.filter_map do |rung|
        cell = @results.cell(rung["name"], SUBJECT)
        "#{number(cell.median)} with #{count(rung['connections'])}" if cell
      end
      "#{SUBJECT}, #{per_second(rungs.first)} by connections: #{list(steps)}." if steps.any?
    end

    def lead(rungs, rival)
      steps = rungs.filter_map do |rung|
        comparison = @results.compare(rung["name"], SUBJECT, rival) or next
        same = " (the runs overlap)" if comparison.verdict == :same
        "#{number(comparison.ratio)} with #{count(rung['connections'])}#{same}"
      end
      "#{SUBJECT} against #{rival}: #{list(steps)}." if steps.any?
    end

    def calls_at(rung, chosen)
      at(rung, chosen, "System calls per operation", "syscalls_per_op") { |cell| number(cell["syscalls_per_op"]) }
    end

    def memory_at(rung, chosen)
      at(rung, chosen, "Memory at its peak", "peak_kb") do |cell|
        each = cell["kb_per_connection"]
        "#{megabytes(cell['peak_kb'])} MB#{" (#{number(each)} KB a connection)" if each}"
      end
    end

    def at(rung, chosen, what, measure)
      cells = chosen.filter_map { |target| @results.cell(rung["name"], target) }.select { |cell| cell[measure] }
      return if cells.empty?

      each = cells.map { |cell| "#{cell.target} #{yield cell}" }
      "#{what} with #{count(rung['connections'])} connections: #{each.join(', ')}."
    end

    # Targets that ran on the first rung and not on the last.
    def not_reached(rungs)
      name = rungs.last["name"]
      ran = @results.run_of(rungs.first["name"]).map(&:target)
      cells = @results.cells_of(name).reject(&:run?).select { |cell| ran.include?(cell.target) }
      cells.group_by(&:note).map do |note, list|
        "No result with #{count(rungs.last['connections'])} connections: #{list(list.map(&:target))}#{because(note)}."
      end
    end

    def once = "Some were run once only: there is no spread to compare a difference with, so take no ratio for granted."

    def unsteady
      wide = @results.cells.select { |cell| cell.run? && cell.min.positive? && cell.max.fdiv(cell.min) > UNSTEADY }
      wide.group_by(&:workload).map do |name, cells|
        each = cells.map { |cell| "#{cell.target} (#{number(cell.max.fdiv(cell.min))} times)" }
        "On #{name} the fastest run is far from the slowest: #{list(each)}."
      end
    end
  end
end
