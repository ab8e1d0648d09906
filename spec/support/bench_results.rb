# frozen_string_literal: true

# A benchmark's result file with plausible numbers, none of them measured.
module BenchResults
  TARGETS = {
    "threads" => 0.8, "select" => 0.7, "poll" => 0.75, "epoll" => 1.15, "io_uring" => 1.45, "sqpoll" => 1.5,
    "async" => 1.0, "async-uring" => 1.02, "async+uring_io" => 1.2, "uringmachine" => 1.55, "carbon_fiber" => 1.1,
    "itsi-scheduler" => 0.95, "libev_scheduler" => 0.98, "floor" => 3.0
  }.freeze
  ABSENT = { "carbon_fiber" => "the gem does not compile on this Ruby", "itsi-scheduler" => "not installed" }.freeze
  UNITS = {
    "echo-1" => "exchanges", "echo-20" => "exchanges", "echo-200" => "exchanges", "echo-2000" => "exchanges",
    "echo-10000" => "exchanges", "http" => "requests", "net-http-small" => "requests", "net-http-256k" => "requests",
    "accept" => "connections", "pool" => "checkouts", "fan-out" => "requests", "timeouts" => "timeouts",
    "queue" => "items", "pipe" => "lines", "tls" => "exchanges", "mixed" => "requests", "pg" => "queries",
    "redis" => "commands", "file-warm" => "reads", "file-cold" => "reads", "idle" => "exchanges"
  }.freeze

  class << self
    def all
      {
        "machine" => { "ruby" => "ruby 4.0.5", "kernel" => "6.12.57+deb13-amd64", "cpu" => "AMD EPYC 9354P",
                       "cpus" => 2, "memory_mb" => 15_990, "load" => [0.12, 0.2, 0.15], "date" => "2026-01-15",
                       "gems" => { "async" => "2.36.0", "io-event" => "1.14.2", "uringmachine" => "0.23.1" } },
        "runs" => 5, "seconds" => 3, "baseline" => "async",
        "targets" => TARGETS.keys.map { |name| { "name" => name, "title" => "On #{name}", "note" => ABSENT[name] } },
        "workloads" => UNITS.map { |name, unit| workload(name, unit) },
        "results" => UNITS.keys.flat_map { |name| TARGETS.keys.map { |target| result(name, target) } }
      }
    end

    # Only one workload, with the rates of each target.
    def small(name: "http", unit: "requests", **rates)
      results = rates.map { |target, list| cell(name, target, list, nil) }
      { "machine" => {}, "runs" => 3, "seconds" => 1, "baseline" => "async", "targets" => [],
        "workloads" => [{ "name" => name, "title" => name, "unit" => unit }], "results" => results }
    end

    def cell(workload, target, rates, note)
      median = rates.sort[rates.size / 2]
      { "workload" => workload, "target" => target, "rates" => rates, "median" => median, "min" => rates.min,
        "max" => rates.max, "note" => note }
    end

    private

    def workload(name, unit)
      connections = name[/\Aecho-(\d+)\z/, 1]&.to_i
      { "name" => name, "title" => "What #{name} does", "unit" => unit, "connections" => connections,
        "about" => "What one of the #{unit} is, in a sentence.", "group" => connections && "echo" }
    end

    def result(name, target)
      note = ABSENT[target] || gone(name, target)
      return cell(name, target, [], note) if note

      random = Random.new("#{name}/#{target}".sum)
      rates = Array.new(5) { rate(name, target) * random.rand(0.96..1.04) }.map(&:round)
      connections = name[/\d+\z/]&.to_i if name.start_with?("echo")
      cell(name, target, rates, nil).merge(
        "ratio" => (rates.sort[2] / rate(name, "async")).round(3), "p50_us" => 1e6 / rates[0] * 20,
        "p99_us" => 1e6 / rates[0] * 61, "syscalls_per_op" => calls(target, connections || 20),
        "cpu_s_per_mop" => 1e6 / rates[0], "peak_kb" => 38_000 + ((connections || 20) * memory(target)),
        "kb_per_connection" => connections && memory(target)
      )
    end

    def gone(name, target)
      return "more than 1,024 descriptors" if target == "select" && %w[echo-2000 echo-10000].include?(name)
      return "too many threads" if target == "threads" && name == "echo-10000"

      "it has no hook for TLS" if target == "uringmachine" && name == "tls"
    end

    def rate(name, target)
      base = 60_000.0 / ((UNITS.keys.index(name) % 7) + 1)
      factor = TARGETS.fetch(target)
      factor = { "io_uring" => 0.9, "threads" => 1.1 }.fetch(target, 1.0) if name == "file-warm"
      factor = 1.0 if %w[queue timeouts].include?(name) && target != "floor"
      base * factor
    end

    def calls(target, connections)
      case target
      when "sqpoll" then 0.01
      when "io_uring", "async-uring", "async+uring_io", "uringmachine" then (2.0 / connections) + 0.02
      when "threads", "floor" then 2.0
      else 2.0 + (1.0 / connections)
      end
    end

    def memory(target) = { "threads" => 42.0, "floor" => 0.4 }.fetch(target, 13.5)
  end
end
