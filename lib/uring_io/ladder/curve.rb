# frozen_string_literal: true

require "erb"
require_relative "texts"

module UringIO
  class Ladder
    # A figure of each rung over the number of connections. Both axes are logarithmic.
    class Curve
      include ERB::Util

      WIDTH = 400
      HEIGHT = 300
      LEFT = 58
      RIGHT = 72
      TOP = 14
      BOTTOM = 44
      # The least distance between two names at the right end.
      LINE = 15
      private_constant :WIDTH, :HEIGHT, :LEFT, :RIGHT, :TOP, :BOTTOM, :LINE

      # @param reading [Reading]
      # @param title [String] what the figure is
      # @param unit [Proc] makes a text of a figure
      # @yieldparam run [Reading::Run]
      # @yieldreturn [Numeric, nil] the figure
      def initialize(reading, title, unit, &)
        @title = title
        @unit = unit
        @series = reading.rungs.to_h { |rung| [rung.name, reading.points(rung.name, &)] }.reject { |_, it| it.empty? }
        @counts = reading.connections
        figures = @series.values.flatten(1).map(&:last)
        least, most = figures.minmax.map { |figure| Math.log10(figure) } if figures.any?
        @low = (least || 0).floor
        @high = [(most || 1).ceil, @low + 1].max
      end

      attr_reader :title

      def width = WIDTH

      def height = HEIGHT

      def words
        said = @series.map do |name, points|
          "#{name}: #{points.map { |count, figure| "#{@unit[figure]} with #{Texts.count(count)}" }.join(', ')}"
        end
        "#{@title}, over the number of connections. #{said.join('. ')}"
      end

      # The content of the svg element.
      def to_s
        [grid, *@series.map { |name, points| line(name, points) }, names].join("\n")
      end

      private

      def x(count)
        low, high = [@counts.first, @counts.last].map { |number| Math.log10(number) }
        share = high > low ? (Math.log10(count) - low) / (high - low) : 0.5
        (LEFT + (share.clamp(0, 1) * (WIDTH - LEFT - RIGHT))).round(1)
      end

      def y(figure)
        share = (Math.log10(figure) - @low) / (@high - @low)
        (HEIGHT - BOTTOM - (share * (HEIGHT - TOP - BOTTOM))).round(1)
      end

      def grid
        across = (@low..@high).map do |power|
          figure = 10.0**power
          %(<path class="grid" d="M#{LEFT} #{y(figure)}H#{WIDTH - RIGHT}"/>) +
            %(<text class="quiet end" x="#{LEFT - 6}" y="#{y(figure) + 4}">#{h(@unit[figure])}</text>)
        end
        down = @counts.map do |count|
          %(<path class="grid" d="M#{x(count)} #{TOP}V#{HEIGHT - BOTTOM}"/>) +
            %(<text class="quiet middle" x="#{x(count)}" y="#{HEIGHT - BOTTOM + 18}">#{Texts.count(count)}</text>)
        end
        under = %(<text class="quiet middle" x="#{(LEFT + WIDTH - RIGHT) / 2}" y="#{HEIGHT - 6}">connections</text>)
        [*across, *down, under].join("\n")
      end

      def line(name, points)
        path = points.map { |count, figure| "#{x(count)} #{y(figure)}" }
        dots = points.map do |count, figure|
          %(<circle class="#{name}" cx="#{x(count)}" cy="#{y(figure)}" r="3.5"><title>) +
            %(#{name}, #{Texts.count(count)} connections: #{h(@unit[figure])}</title></circle>)
        end
        %(<path class="line #{name}" d="M#{path.join('L')}"/>#{dots.join})
      end

      # The name of each rung at the end of its line. Names that would cover each other move apart.
      def names
        wished = @series.map { |name, points| [name, y(points.last.last)] }.sort_by(&:last)
        places = wished.map(&:last)
        places.each_index { |i| places[i] = [places[i], places[i - 1] + LINE].max if i.positive? }
        over = [(places.last || 0) - (HEIGHT - BOTTOM), 0].max
        places[-1] -= over if places.any?
        (places.size - 2).downto(0) { |i| places[i] = [places[i], places[i + 1] - LINE].min }
        wished.zip(places).map do |(name, _), place|
          %(<text class="name #{name}" x="#{WIDTH - RIGHT + 10}" y="#{(place + 4).round(1)}">#{name}</text>)
        end.join
      end
    end
  end
end
