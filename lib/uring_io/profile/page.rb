# frozen_string_literal: true

require_relative "../html"
require_relative "counted"
require_relative "exact"
require_relative "shares"

module UringIO
  class Profile
    # A profile as one HTML page that loads nothing. It has the verdict, a bar of the second, a timeline of each thread,
    # and the processes.
    class Page
      include HTML

      # The size of a timeline, in its own units. The browser stretches it.
      WIDTH = 1000
      HEIGHT = 14
      # The most threads that the page shows.
      THREADS = 40
      private_constant :WIDTH, :HEIGHT, :THREADS

      def initialize(recording, shares, verdict)
        @recording = recording
        @shares = shares
        @verdict = verdict
        @counted = Counted.new(recording, shares)
      end

      # @return [String]
      def to_s = render(file("page.erb"), binding)

      private

      def file(name) = File.expand_path(name, __dir__)

      def processes = @recording[:processes]

      def title = processes.first ? processes.first[:command] : "nothing"

      # Rows with their share of the time. The small ones are one row.
      def rows
        large, small = @shares.rows.partition { |row| row.seconds >= 0.002 * @shares.total }
        found = large.map { |row| { kind: row.kind, label: @shares.label(row), share: row.seconds / @shares.total } }
        return found if small.empty?

        found << { kind: :other, label: "less than 0.2 % each", share: small.sum(&:seconds) / @shares.total }
      end

      def percent(share) = format("%.1f", share * 100)

      # The threads to show: those that ran most, or waited most for a processor, come first.
      def tracks
        all = processes.flat_map { |process| process[:threads].map { |thread| [process, thread] } }
        all.sort_by { |_, thread| -thread[:ran] - thread[:runnable] }.first(THREADS)
      end

      def hidden_threads = [processes.sum { |process| process[:threads].size } - THREADS, 0].max

      def rectangles(thread)
        scale = WIDTH / [@recording[:seconds], 1e-9].max
        thread[:timeline].map do |from, to, kind, peer|
          words = "#{Shares.words(kind.to_sym, peer)}, #{format('%.3f', to - from)} s at #{format('%.3f', from)} s"
          %(<rect class="#{h(kind)}" x="#{(from * scale).round(2)}" width="#{((to - from) * scale).round(2)}" ) +
            %(height="#{HEIGHT}"><title>#{h(words)}</title></rect>)
        end.join
      end

      def seconds(number) = format("%.2f s", number)
    end
  end
end
