#!/usr/bin/env ruby
# frozen_string_literal: true

# Makes a page of the figures of the benchmarks, which loads nothing: ruby bench/report.rb IN.json OUT.html

require "erb"
require "json"
require_relative "report/numbers"
require_relative "report/results"
require_relative "report/sentences"

module Bench
  # The view of results that report/page.erb shows and report/page.js draws.
  class Report
    include ERB::Util
    include Numbers

    FOLDER = File.expand_path("report", __dir__)
    LIBRARY = "vendor/chart.umd.min.js"
    OURS = %w[select poll epoll io_uring sqpoll async+uring_io].freeze
    BOUNDS = %w[threads floor].freeze
    MEASURES = { "median" => "Throughput", "syscalls_per_op" => "System calls per operation",
                 "peak_kb" => "Memory at its peak" }.freeze
    # The scale is logarithmic when the largest value is more than this many times the smallest.
    FAR = 30
    COLUMNS = ["target", "median a\u00a0second", "min", "max", "ratio", "p50 µs", "p99 µs", "system calls per op",
               "CPU s per million", "peak MB", "KB per connection", "each run", "note"].freeze

    def initialize(hash)
      @results = Results.new(hash)
      @sentences = Sentences.new(@results)
    end

    def write(path) = File.write(path, html)

    def html = ERB.new(file("page.erb"), trim_mode: "-").result(binding)

    private

    def file(name) = File.read(File.join(FOLDER, name), encoding: Encoding::UTF_8)

    # Without the line that names the source map: a browser would look for that on the network.
    def library = file(LIBRARY).sub(%r{^//# sourceMappingURL=.*$}, "")

    # JSON without characters that could end the script around it.
    def drawing
      JSON.generate(ladders: ladders.flat_map { |ladder| ladder[:charts] }, bars:)
          .gsub(/[<>&\u2028\u2029]/) { |character| format("\\u%04x", character.ord) }
    end

    def ladders
      @ladders ||= @results.ladders.map.with_index do |(group, rungs), index|
        charts = MEASURES.keys.filter_map { |measure| ladder_chart("ladder-#{index}-#{measure}", rungs, measure) }
        { group:, rungs:, charts:, shown: charts.flat_map { |chart| chart[:lines].map { |line| line[:name] } }.uniq }
      end
    end

    def ladder_chart(id, rungs, measure)
      lines = @results.targets.each_with_index.filter_map do |target, index|
        points = points(rungs, target["name"], measure)
        { name: target["name"], mark: index, kind: kind(target["name"]), points: } if points.any?
      end
      return if lines.empty?

      unit = { "median" => per_second(rungs.first), "peak_kb" => "MB" }[measure]
      values = lines.flat_map { |line| line[:points].map(&:last) }
      log = values.min.positive? && values.max > FAR * values.min
      title = [MEASURES[measure], unit].compact.join(", ")
      { id:, title:, unit:, lines:, log:, connections: rungs.map { |rung| rung["connections"] }.uniq }
    end

    def points(rungs, target, measure)
      rungs.filter_map do |rung|
        value = @results.cell(rung["name"], target)&.[](measure)
        [rung["connections"], measure == "peak_kb" ? value / 1024.0 : value] if value
      end
    end

    def kind(target)
      return "ours" if OURS.include?(target)

      BOUNDS.include?(target) ? "bound" : "other"
    end

    def bars
      @bars ||= @results.workloads.each_with_index.to_h { |workload, index| [workload["name"], bar(workload, index)] }
                        .compact.values
    end

    # The bars of a workload, the fastest first. Values are relative to the median of the baseline if it has one.
    def bar(workload, index)
      cells = @results.run_of(workload["name"]).sort_by { |cell| -cell.median }
      return if cells.empty?

      base = @results.cell(workload["name"], @results.baseline)&.median
      base = nil unless base&.positive? && cells.all? { |cell| cell.min.positive? }
      rows = cells.map do |cell|
        median, min, max = [cell.median, cell.min, cell.max].map { |rate| base ? rate.fdiv(base) : rate }
        { name: cell.target, label: number(median), ours: kind(cell.target) == "ours",
          value: median, spread: [min, max] }
      end
      { id: "bars-#{index}", workload: workload["name"], relative: !base.nil?, rows:,
        unit: base ? "times #{@results.baseline}" : per_second(workload),
        caption: base ? "1 is the median of #{@results.baseline}" : per_second(workload),
        text: rows.map { |row| "#{row[:name]} #{row[:label]}" }.join(", ") }
    end

    def numbers(cell)
      [number(cell.median), number(cell["min"]), number(cell["max"]), number(cell["ratio"]), number(cell["p50_us"]),
       number(cell["p99_us"]), number(cell["syscalls_per_op"]), number(cell["cpu_s_per_mop"]),
       megabytes(cell["peak_kb"]), number(cell["kb_per_connection"])]
    end

    def per_second(workload) = "#{workload['unit'] || 'operations'} a second"

    def title(item) = item["title"] || item["name"]

    def baseline = @results.baseline || "the baseline"

    def headline
      words = machine.values_at("Date", "Ruby", "Kernel", "Processor")
      words[1] &&= words[1].delete_prefix("ruby ")
      ["", "Ruby ", "Linux ", ""].zip(words).filter_map { |name, word| "#{name}#{word}" if word }.join(" · ")
    end

    def machine
      gems = @results.machine["gems"]&.map { |name, version| "#{name} #{version}" }
      memory = @results.machine["memory_mb"]
      { "Date" => @results.machine["date"], "Ruby" => @results.machine["ruby"], "Kernel" => @results.machine["kernel"],
        "Processor" => @results.machine["cpu"], "Processors" => @results.machine["cpus"],
        "Memory" => memory && "#{number(memory)} MB", "Load before" => Array(@results.machine["load"]).join(", "),
        "Gems" => gems&.join(", ") }.reject { |_, value| value.to_s.empty? }
    end
  end
end

if $PROGRAM_NAME == __FILE__
  input, output = ARGV
  abort "Usage: ruby bench/report.rb IN.json OUT.html" unless ARGV.size == 2
  begin
    Bench::Report.new(JSON.parse(File.read(input))).write(output)
  rescue SystemCallError, JSON::ParserError, ArgumentError => error
    abort "bench/report.rb: cannot make a page of #{input}: #{error.message}"
  end
end
