# frozen_string_literal: true

require "json"

module Bench
  # The results of the benchmarks, from the hash of the result file, with methods for the page.
  class Results
    # One target on one workload.
    class Cell
      def initialize(fields)
        @fields = fields
      end

      def [](name) = @fields[name]
      def workload = self["workload"]
      def target = self["target"]
      def rates = Array(self["rates"])
      def median = self["median"]
      def min = self["min"] || median
      def max = self["max"] || median
      def note = self["note"]
      def run? = rates.any? && !median.nil?
    end

    # Two cells of a workload. If their runs overlap, we speak of no difference. A single run cannot tell.
    Comparison = Data.define(:one, :other) do
      def ratio = one.median.fdiv(other.median)

      def verdict
        return :unsure if one.rates.size < 2 || other.rates.size < 2
        return :same if one.min <= other.max && other.min <= one.max

        ratio > 1 ? :faster : :slower
      end
    end

    attr_reader :machine, :runs, :seconds, :baseline, :command, :targets, :workloads, :cells

    # @param hash [Hash] with symbols for keys (from a program), or with strings (from a file)
    def initialize(hash)
      data = JSON.parse(JSON.generate(hash))
      unless data.is_a?(Hash) && data["results"].is_a?(Array)
        raise ArgumentError, "no \"results\" in it: give the JSON that the benchmark runner wrote"
      end

      @machine = data["machine"] || {}
      @runs, @seconds, @baseline, @command = data.values_at("runs", "seconds", "baseline", "command")
      @cells = data["results"].map { |fields| Cell.new(fields) }
      @targets = named(data["targets"], @cells.map(&:target))
      @workloads = named(data["workloads"], @cells.map(&:workload))
      @run = @cells.select(&:run?).to_h { |cell| [[cell.workload, cell.target], cell] }
    end

    # The cell, or nil when it has no result.
    def cell(workload, target) = @run[[workload, target]]

    def cells_of(workload) = @cells.select { |cell| cell.workload == workload }

    def run_of(workload) = cells_of(workload).select(&:run?)

    def compare(workload, one, other)
      pair = [cell(workload, one), cell(workload, other)]
      return if one == other || pair.any? { |cell| cell.nil? || !cell.median.positive? }

      Comparison.new(*pair)
    end

    # Targets without any result.
    def missing
      @targets.reject { |target| @run.each_key.any? { |_, name| name == target["name"] } }
    end

    # Workloads of each group that differ in their number of connections, the fewest first.
    def ladders
      rungs = @workloads.select { |workload| workload["group"] && workload["connections"] }
      groups = rungs.group_by { |workload| workload["group"] }
      groups.select { |_, list| list.uniq { |workload| workload["connections"] }.size > 1 }
            .transform_values { |list| list.sort_by { |workload| workload["connections"] } }
    end

    private

    # The list, and an entry with nothing but a name for each name that only the results have.
    def named(list, used)
      list = Array(list)
      list + (used.uniq - list.map { |item| item["name"] }).map { |name| { "name" => name } }
    end
  end
end
