# frozen_string_literal: true

module Libraries
  # The table of docs/libraries.md.
  class Page
    PATH = File.expand_path("../../../docs/libraries.md", __dir__)
    HEAD = ["library", "tried", "right", "overlaps", "what to know"].freeze

    NEITHER = "–"

    # The cells of a row: its name, the beginning of the version, and "yes" or "no" twice. A row that is not right has
    # no finding about overlap.
    Told = Struct.new(:name, :tried, :right, :overlaps, :line) do
      # The page gives only the significant part of a version: "1" or "0.5".
      def version?(version)
        version == tried || version.start_with?("#{tried}.")
      end
    end

    class << self
      # The rows by name. Raises for a table that it cannot read.
      def rows
        lines = File.readlines(PATH, chomp: true).map { |line| line.start_with?("| ") ? cells(line) : nil }
        first = lines.index(HEAD) or raise "#{PATH} has no table with the cells #{HEAD.join(', ')}"
        told = lines.each_with_index.drop(first + 2).take_while(&:first).map { |found, index| row(found, index + 1) }
        doubles = told.map(&:name).tally.select { |_, count| count > 1 }.keys
        raise "#{PATH} has two rows of #{doubles.join(', ')}" if doubles.any?

        told.to_h { |row| [row.name, row] }
      end

      private

      def cells(line)
        line.delete_prefix("|").delete_suffix("|").split("|", HEAD.size).map(&:strip)
      end

      def row(found, line)
        name, tried, right, overlaps = found
        unless found.size == HEAD.size && [%w[yes yes], %w[yes no], ["no", NEITHER]].include?([right, overlaps])
          raise "#{PATH}:#{line}: a row has the cells #{HEAD.join(', ')}; the third and fourth are yes or no, " \
                "but the fourth is #{NEITHER} of what is not right"
        end

        Told.new(name, tried, right, overlaps, line)
      end
    end
  end
end
