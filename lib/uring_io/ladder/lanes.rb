# frozen_string_literal: true

require "erb"
require_relative "texts"

module UringIO
  class Ladder
    # One exchange as a picture: a line for each step of the server, over the time from the request to its answer.
    class Lanes
      include ERB::Util

      WIDTH = 400
      LEFT = 8
      TOP = 40
      LANE = 40
      BAR = 12
      # How much the picture shows of the time before the request and after the answer, as shares of the time between.
      BEFORE = 0.18
      AFTER = 0.12
      private_constant :WIDTH, :LEFT, :TOP, :LANE, :BAR, :BEFORE, :AFTER

      # @param exchange [Hash] of a run
      def initialize(exchange)
        @answered = [exchange[:answered], 1].max
        @steps = exchange[:steps]
      end

      def height = TOP + (LANE * (@steps.size + 1)) + 8

      def width = WIDTH

      # The picture in words, for screen readers.
      def words
        steps = @steps.map { |step| "#{step[:name]} (#{step[:words]}), #{micros(step[:to] - step[:from])}" }
        "The request comes at 0 and the answer is there after #{micros(@answered)}. The server: #{steps.join('; ')}"
      end

      # The content of the svg element.
      def to_s
        [frame, client, *@steps.each_with_index.map { |step, index| lane(step, TOP + (LANE * (index + 1))) }].join("\n")
      end

      private

      def x(time)
        from = -BEFORE * @answered
        whole = @answered * (1 + BEFORE + AFTER)
        share = ((time - from) / whole).clamp(0, 1)
        (LEFT + (share * (WIDTH - (2 * LEFT)))).round(1)
      end

      def micros(nanoseconds) = Texts.length(nanoseconds / 1e3)

      def frame
        lines = [0, @answered].map { |time| %(<path class="moment" d="M#{x(time)} 20V#{height - 4}"/>) }
        lines << %(<text class="quiet" x="#{x(0) + 3}" y="14">the request</text>)
        lines << %(<text class="quiet end" x="#{x(@answered) - 3}" y="14">the answer, #{micros(@answered)} later</text>)
        lines.join
      end

      def client
        text("The client waits for its answer", TOP) +
          bar("client", 0, @answered, TOP, "the client waits for #{micros(@answered)}")
      end

      # Before the request has come, a call only waits. After the answer is there, every call except send waits as well.
      def lane(step, y)
        kind = step[:call] ? "call" : "store"
        from, to = step.values_at(:from, :to)
        before, after = [true, step[:name] != "send"].map { |asleep| asleep && step[:call] ? "wait" : kind }
        parts = [[from, [to, 0].min, before], [[from, 0].max, [to, @answered].min, kind],
                 [[from, @answered].max, to, after]]
        bars = parts.select { |start, stop, _| stop > start }
        words = "#{label(step)}, #{micros(to - from)}"
        text(shortened(label(step)), y) + bars.map { |start, stop, name| bar(name, start, stop, y, words) }.join
      end

      # A text to the right of the line that marks the request.
      def text(label, y) = %(<text x="#{x(0) + 4}" y="#{y - 4}">#{h(label)}</text>)

      def label(step)
        step[:call] ? "#{step[:name]}: #{step[:words]}" : "#{step[:name]} #{step[:words]} (no call)"
      end

      def shortened(label) = label.size > 52 ? "#{label[0, 50]}…" : label

      def bar(kind, from, to, y, words)
        left = x(from)
        width = [(x(to) - left).round(1), 2].max
        %(<rect class="#{kind}" x="#{left}" y="#{y}" width="#{width}" height="#{BAR}" rx="2">) +
          %(<title>#{h(words)}</title></rect>)
      end
    end
  end
end
