# frozen_string_literal: true

require_relative "counted"
require_relative "exact"

module UringIO
  class Profile
    # A profile for a terminal.
    class Table
      WIDTH = 80
      BAR = 18
      LABEL = 48
      # The table adds up the rows below this share of the time.
      SMALL = 0.002
      BOLD = "\e[1m"
      PLAIN = "\e[0m"
      private_constant :WIDTH, :BAR, :LABEL, :SMALL, :BOLD, :PLAIN

      def initialize(recording, shares, verdict, color: false)
        @counted = Counted.new(recording, shares)
        @recording = recording
        @shares = shares
        @verdict = verdict
        @color = color
      end

      def to_s
        [head, "", heading("Of each second"), *rows, *inside, *exact, *processes,
         "", heading("Verdict"), *verdict, ""].join("\n")
      end

      private

      def heading(text) = @color ? "#{BOLD}#{text}#{PLAIN}" : text

      def head
        processes = @recording[:processes]
        command = processes.first ? cut(processes.first[:command], WIDTH - 18) : "(no process)"
        threads = processes.sum { |process| process[:threads].size }
        [heading("uring_io profile: #{command}"),
         "#{@recording[:seconds].round(2)} s, #{count(processes.size, 'process')}, #{count(threads, 'thread')}, " \
         "#{@recording[:rate]} looks a second"]
      end

      def rows
        total = @shares.total
        return ["  nothing was seen"] unless total.positive?

        large, small = @shares.rows.partition { |row| row.seconds >= SMALL * total }
        lines = large.map { |row| line(@shares.label(row), row.seconds / total) }
        lines << line("less than 0.2 % each", small.sum(&:seconds) / total) if small.any?
        lines
      end

      def line(label, share)
        "  #{cut(label, LABEL).ljust(LABEL)} #{format('%.3f', share)} s  #{'#' * (share * BAR).round}".rstrip
      end

      def processes
        several = @recording[:processes]
        return [] if several.size < 2

        ["", heading("Processes")] + several.map do |process|
          ran = process[:computing] + process[:system]
          "  #{process[:pid].to_s.ljust(8)} #{cut(process[:command], 40).ljust(40)} " \
            "#{format('%7.2f', process[:seconds])} s, ran #{format('%.2f', ran)} s"
        end
      end

      def inside
        lines = @counted.lines
        return [] if lines.empty?

        ["", heading("Inside, as Ruby counts it"), *hanging(lines.map { |line| "#{line.what}: #{line.words}" })]
      end

      def exact
        return [] unless @recording[:exact]

        ["", heading("System calls"), *hanging(Exact.lines(@recording[:exact]))]
      end

      def hanging(lines)
        lines.flat_map do |line|
          first, *more = wrapped(line, WIDTH - 2)
          [first, *more.map { |part| "  #{part}" }]
        end
      end

      def verdict = @verdict.sentences.flat_map { |sentence| wrapped(sentence) }

      def wrapped(sentence, width = WIDTH)
        sentence.scan(/\S.{0,#{width - 3}}(?=\s|\z)/).map { |part| "  #{part.strip}" }
      end

      def cut(text, width) = text.size > width ? "#{text[0, width - 3]}..." : text

      def count(number, word)
        return "1 #{word}" if number == 1

        "#{number} #{word.end_with?('s') ? "#{word}es" : "#{word}s"}"
      end
    end
  end
end
