# frozen_string_literal: true

require_relative "texts"

module UringIO
  class Ladder
    # The ladder for a terminal.
    class Table
      WIDTH = 80
      LABEL = 12
      BOLD = "\e[1m"
      PLAIN = "\e[0m"
      private_constant :WIDTH, :LABEL, :BOLD, :PLAIN

      def initialize(reading, color: false)
        @reading = reading
        @color = color
      end

      def to_s
        [head, *figures, "", heading("System calls of one exchange, as it happened"), *exchanges,
         *section("Limits", @reading.limits), *section("What it says", @reading.sentences), ""].join("\n")
      end

      private

      def heading(text) = @color ? "#{BOLD}#{text}#{PLAIN}" : text

      def head
        machine = @reading.machine
        [heading("uring_io ladder: a request of 64 bytes and its answer, one connection in 100 active"),
         "#{machine[:kernel]}, #{machine[:processors]} processors, #{@reading.seconds.round} s"]
      end

      def figures
        [*block("Processor time of an exchange, one request at a time (µs)") { |run| Texts.figure(run.cpu) },
         *block("Time from request to answer, one request at a time (µs)") { |run| Texts.figure(run.time) },
         *block("System calls of an exchange, one request at a time") { |run| Texts.figure(run.calls) },
         *block("System calls of an exchange, all active connections at once") do |run|
           Texts.figure(run.calls(:together) || run.calls)
         end,
         *block("Memory that the rung takes") { |run| Texts.bytes(run.memory) }]
      end

      def block(title, &)
        width = [(WIDTH - LABEL) / @reading.connections.size, 12].min
        counts = @reading.connections.map { |count| Texts.count(count).rjust(width) }
        lines = @reading.rungs.map do |rung|
          cells = @reading.runs.fetch(rung.name).map { |run| cell(run, &).rjust(width) }
          "  #{rung.name.to_s.ljust(LABEL - 2)}#{cells.join}".rstrip
        end
        ["", heading(title), "#{'connections'.ljust(LABEL)}#{counts.join}", *lines]
      end

      def cell(run) = run.measured? ? yield(run) : "-"

      def exchanges
        @reading.rungs.filter_map do |rung|
          run = @reading.shown(rung.name) or next
          "  #{rung.name.to_s.ljust(LABEL - 2)}#{calls(run)}"
        end
      end

      # The calls of an exchange, beginning with the call that waits.
      def calls(run)
        names = run.exchange[:calls]
        return "none" if names.empty?

        last = names.rindex("send")
        (last ? names.rotate(last + 1) : names).join(", ")
      end

      def section(title, sentences)
        return [] if sentences.empty?

        ["", heading(title), *sentences.flat_map { |sentence| wrapped(sentence) }]
      end

      def wrapped(sentence)
        sentence.scan(/\S.{0,#{WIDTH - 3}}(?=\s|\z)/).map { |part| "  #{part.strip}" }
      end
    end
  end
end
