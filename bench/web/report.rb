# frozen_string_literal: true

require "etc"
require "json"

module WebBench
  # The outcome of a target on a workload.
  class Result
    attr_reader :workload, :target, :calls

    def initialize(workload, target)
      @workload = workload
      @target = target
      @runs = []
      @failed = false
    end

    # @param reason [String, nil] why not to measure it; nil to measure it
    def leave_out(reason)
      @why = reason
    end

    # Lets the block make one more run, unless an earlier one failed or the target is left out.
    def attempt
      yield @runs unless @why
    rescue Failed => error
      @failed = true
      @why = "FAILED: #{error.message.gsub(/\s+/, ' ')}"
    end

    # Keeps the system calls of a request, which the block counts, or the reason why it cannot count them.
    def count
      @calls = yield
    rescue Failed => error
      @uncounted = "system calls not counted: #{error.message.gsub(/\s+/, ' ')}"
    end

    def failed? = @failed
    def measured? = @why.nil?
    def rates = @runs.map { |run| run.rate.round }
    def rate = WebBench.median(rates)
    def of(what) = WebBench.median(@runs.map(&what))
    def memory = @runs.map(&:memory).max

    # The rate divided by that of another result.
    def ratio(base)
      rate.fdiv(base.rate).round(2) if measured? && base.measured?
    end

    def note(base)
      @why || [("spread larger than the difference" if drowned?(base)), @uncounted].compact.join("; ")[/.+/]
    end

    def to_h(base)
      name = { workload: workload.name, target: target.name }
      numbers = if measured?
                  { rates:, median: rate, min: rates.min, max: rates.max, ratio: ratio(base),
                    p50_us: of(:median), p99_us: of(:slow), syscalls_per_op: calls&.round(2),
                    cpu_s_per_mop: of(:processor).round(2), peak_kb: memory, kb_per_connection: nil }
                else
                  { rates: [], median: nil, min: nil, max: nil, ratio: nil, p50_us: nil, p99_us: nil,
                    syscalls_per_op: nil, cpu_s_per_mop: nil, peak_kb: nil, kb_per_connection: nil }
                end
      { **name, **numbers, note: note(base) }
    end

    private

    def drowned?(base)
      return false if equal?(base) || !measured? || !base.measured?

      spread = [self, base].map { |result| result.rates.max - result.rates.min }.max
      spread >= (rate - base.rate).abs
    end
  end

  # The table, and the file for other programs.
  class Report
    COLUMNS = ["per second", "ratio", "min", "max", "p50 ms", "p99 ms", "CPU us/op", "calls/op", "peak MB"].freeze
    GEMS = %w[rails pg puma nio4r falcon async async-http io-event protocol-rack rack redis-client].freeze

    def self.machine
      memory = File.read("/proc/meminfo")[/^MemTotal:\s+(\d+)/, 1].to_i / 1024
      cpu = File.read("/proc/cpuinfo")[/^model name\s*:\s*(.*)/, 1] || Etc.uname[:machine]
      { ruby: RUBY_VERSION, kernel: Etc.uname[:release], cpu:, cpus: Etc.nprocessors, memory_mb: memory,
        load: File.read("/proc/loadavg").split.first.to_f, gems:, date: Time.now.utc.strftime("%Y-%m-%dT%H:%M:%SZ") }
    end

    def self.gems
      GEMS.filter_map { |name| [name, Gem::Specification.find_all_by_name(name).map(&:version).max&.to_s] }.to_h.compact
    end

    def initialize(targets, workloads, rounds, seconds)
      @targets = targets
      @workloads = workloads
      @rounds = rounds
      @seconds = seconds
      @machine = self.class.machine
      @results = []
      @widths = [workloads.map { |workload| workload.name.size }.max, targets.map { |target| target.title.size }.max]
    end

    def head
      machine = @machine
      gems = machine[:gems].map { |name, version| "#{name} #{version}" }.join(", ")
      notes = @targets.filter_map(&:note).uniq
      ["Ruby #{machine[:ruby]}, #{gems}",
       "Linux #{machine[:kernel]}, #{machine[:cpus]} processors (#{machine[:cpu]}), load #{machine[:load]}",
       "#{@rounds} rounds of #{@seconds} seconds; ratio to #{@targets.first.title}", *notes, "",
       line("workload", "server", COLUMNS)].join("\n")
    end

    # Adds the results of a workload, of which the first one is the base, and returns their lines.
    def add(results)
      @results.concat(results.map { |result| result.to_h(results.first) })
      results.map { |result| row(result, results.first) }.join("\n")
    end

    def to_json(*)
      JSON.pretty_generate(
        machine: @machine, runs: @rounds, seconds: @seconds, baseline: @targets.first.name,
        targets: @targets.map { |target| { name: target.name, title: target.title, note: target.note } },
        workloads: @workloads.map(&:to_json_hash), results: @results
      )
    end

    private

    def row(result, base)
      cells = if result.measured?
                [result.rate, result.ratio(base) || "-", *result.rates.minmax, milliseconds(result.of(:median)),
                 milliseconds(result.of(:slow)), result.of(:processor).round(1), result.calls&.round(2) || "-",
                 (result.memory / 1024.0).round]
              else
                ["-"] * COLUMNS.size
              end
      [line(result.workload.name, result.target.title, cells), result.note(base)].join("  ").rstrip
    end

    def milliseconds(microseconds) = (microseconds / 1000.0).round(2)

    def line(workload, server, cells)
      numbers = cells.zip(COLUMNS).map { |cell, name| cell.to_s.rjust([name.size, 7].max) }
      [workload.ljust(@widths.first), server.ljust(@widths.last), *numbers].join(" ")
    end
  end
end
