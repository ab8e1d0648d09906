# frozen_string_literal: true

module Bench
  # The lines of the table.
  module Table
    COLUMNS = [["workload", -14], ["target", -16], ["per second", 10], ["min..max", 17], ["ratio", 6], ["p50 us", 9],
               ["p99 us", 9], ["calls/op", 8], ["CPU s/M", 8], ["peak MB", 8]].freeze

    class << self
      def head = line(COLUMNS.map(&:first))

      def row(result)
        spread = "#{whole(result[:min])}..#{whole(result[:max])}" if result[:rates].any?
        text = line([result[:workload], result[:target], whole(result[:median]), spread, fixed(result[:ratio], 2),
                     fixed(result[:p50_us], 1), fixed(result[:p99_us], 1), fixed(result[:syscalls_per_op], 2),
                     fixed(result[:cpu_s_per_mop], 1), fixed(result[:peak_kb]&.fdiv(1024), 1)])
        notes = [memory(result), result[:note]].compact
        notes.empty? ? text : "#{text}  #{notes.join('; ')}"
      end

      def thousands(number) = number.to_s.gsub(/(?<=\d)(?=(\d{3})+\z)/, ",")

      private

      def memory(result)
        "#{fixed(result[:kb_per_connection], 1)} KB a connection" if result[:kb_per_connection]
      end

      def line(cells)
        COLUMNS.zip(cells).map do |(_, width), cell|
          width.negative? ? cell.to_s.ljust(-width) : cell.to_s.rjust(width)
        end.join(" ").rstrip
      end

      def whole(number) = number&.round.to_s
      def fixed(number, digits) = number ? format("%.#{digits}f", number) : "-"
    end
  end
end
