# frozen_string_literal: true

require_relative "../html"
require_relative "scene"
require_relative "words"

module UringIO
  class Trace
    # A whole trace as one SVG: a lane for each fiber, and the ring below. A page shows it on paper and without
    # JavaScript.
    class Picture
      include HTML

      # The columns of a lane, each one unit wide. They are to the right of the names.
      WIDTH = 720
      LEFT = 170
      RIGHT = 20
      LANE = 18
      # The heights of a bar: of a run, of a ready fiber, and (LOW) of a wait.
      HEIGHTS = { running: 13, system: 13, runnable: 9 }.freeze
      LOW = 5
      # The most lanes that a picture has: those of the fibers that ran most.
      MOST = 40
      PAD = 6
      STYLE = File.expand_path("picture.css", __dir__)
      private_constant :WIDTH, :LEFT, :RIGHT, :LANE, :HEIGHTS, :LOW, :MOST, :PAD, :STYLE

      # @param scene [Scene]
      # @param alone [Boolean] whether the picture is a file of its own, and not part of a page
      def initialize(scene, alone: true)
        @scene = scene
        @alone = alone
        @scale = WIDTH.fdiv(scene.length)
        @kinds = []
        @parts = []
      end

      # @return [String]
      def to_s
        @y = 26
        @scene.readings.each_with_index { |reading, index| engine(reading, index) }
        body = [axis, *@parts, *(legend if @alone)].join("\n")
        size = %(viewBox="0 0 #{LEFT + WIDTH + RIGHT} #{@y.round}")
        %(<svg xmlns="http://www.w3.org/2000/svg" #{size} role="img" class="trace" aria-label="#{h(title)}">\n) +
          "#{inner_style if @alone}#{body}\n</svg>\n"
      end

      private

      def title
        fibers = @scene.readings.sum { |reading| reading.fibers.size }
        "What #{Words.counted(fibers, 'fiber')} did in #{Words.duration(@scene.length)}"
      end

      def inner_style = "#{style_of(COLORS, STYLE)}\n"

      def x(at) = LEFT + ((at - @scene.start) * @scale).clamp(0, WIDTH)

      def text(x, y, words, kind = nil, anchor = nil)
        attributes = [(%(class="#{kind}") if kind), (%(text-anchor="#{anchor}") if anchor)].compact
        %(<text x="#{x.round(1)}" y="#{y.round(1)}" #{attributes.join(' ')}>#{h(words)}</text>)
      end

      # Four to nine lines, at round numbers.
      def axis
        rough = @scene.length / 8.0
        unit = 10**Math.log10(rough).floor
        step = [unit, 2 * unit, 5 * unit, 10 * unit].find { |it| it >= rough }
        (0..@scene.length).step(step).map do |at|
          at = at.round
          left = x(@scene.start + at)
          %(<path class="tick" d="M#{left.round(1)} 20V#{(@y - 4).round}"/>) +
            text(left, 14, at.zero? ? "0" : Words.duration(at), "quiet", "middle")
        end.join("\n")
      end

      def engine(reading, index)
        if @scene.readings.size > 1
          @parts << text(PAD, @y + 12, "#{reading.backend} #{index + 1}", "strong")
          @y += LANE
        end
        chosen = chosen(reading)
        chosen.each { |fiber| lane(fiber, @scene.orders[index]) }
        hidden = reading.fibers.size - chosen.size
        if hidden.positive?
          @parts << text(LEFT, @y + 12, "#{Words.counted(hidden, 'more fiber')} that ran less", "quiet")
          @y += LANE
        end
        ring(reading)
      end

      def chosen(reading)
        ran = reading.fibers.sort_by { |fiber| -fiber.runs.sum { |from, to| to - from } }
        ran.first(MOST).sort_by(&:number)
      end

      def lane(fiber, order)
        cells = Array.new(WIDTH)
        fiber.waits.each { |wait| paint(cells, wait, order) if wait.depth.zero? }
        parts = [text(PAD, @y + 13, label(fiber)), bars(cells), *ran(fiber)]
        @parts << "<g><title>#{h("#{Words.fiber(fiber)} #{fiber.name}".strip)}</title>#{parts.join}</g>"
        @y += LANE
      end

      def label(fiber)
        place = Words.place(fiber)
        words = "#{fiber.number} #{place}"
        words.size > 26 ? "#{words[0, 25]}…" : words
      end

      def paint(cells, wait, order)
        ready = order.ready(wait)
        fill(cells, wait.from, ready || wait.to, Words.kind(wait))
        fill(cells, ready, wait.to, :runnable) if ready
      end

      # Fills columns with the colour of a kind. Less than half a column does not replace another kind; otherwise the
      # later kind wins.
      def fill(cells, from, to, kind)
        first, last = [from, to].map { |at| (at - @scene.start) * @scale }
        return if last - first < 0.5 && cells[[first.to_i, WIDTH - 1].min]

        (first.to_i..[last.ceil, WIDTH].min - 1).each { |cell| cells[cell] = kind }
      end

      def bars(cells)
        runs = cells.each_with_index.chunk_while { |(a, _), (b, _)| a == b }
        paths = Hash.new { |hash, kind| hash[kind] = +"" }
        runs.each do |run|
          kind, first = run.first
          next if kind.nil? || kind == :idle

          paths[kind] << bar(LEFT + first, run.size, HEIGHTS.fetch(kind, LOW))
        end
        paths.map { |kind, path| drawn(kind, path) }.join
      end

      def bar(left, width, height) = "M#{left} #{(@y + 16 - height).round(1)}h#{width}v#{height}h-#{width}z"

      def drawn(kind, path)
        @kinds |= [kind]
        %(<path class="#{kind}" d="#{path}"/>)
      end

      # The bars of a fiber's runs. Each is as high as the share of its column in which the fiber ran.
      def ran(fiber)
        columns = shares(fiber.runs)
        path = columns.each_with_index.chunk_while { |(a, _), (b, _)| a == b }.filter_map do |run|
          height, first = run.first
          bar(LEFT + first, run.size, height) if height.positive?
        end
        [(drawn(:running, path.join) if path.any?)].compact
      end

      def shares(spans)
        parts = Array.new(WIDTH, 0.0)
        spans.each do |from, to|
          first, last = [from, to].map { |at| (at - @scene.start) * @scale }
          (first.to_i..[last.to_i, WIDTH - 1].min).each do |cell|
            parts[cell] += [last, cell + 1].min - [first, cell].max
          end
        end
        parts.map { |part| part.zero? ? 0 : [(HEIGHTS[:running] * part).ceil.clamp(LOW, HEIGHTS[:running]), 1].max }
      end

      def ring(reading)
        return if reading.enters.empty? && reading.operations.empty?

        @y += 6
        kernel = shares(reading.enters.map { |enter| [enter.from, enter.to] })
        path = kernel.each_with_index.chunk_while { |(a, _), (b, _)| a == b }.filter_map do |run|
          bar(LEFT + run.first[1], run.size, run.first[0]) if run.first[0].positive?
        end
        @parts << (text(PAD, @y + 13, "in the kernel", "quiet") + drawn(:system, path.join))
        @y += LANE
        in_flight(reading)
        @y += 8
      end

      def in_flight(reading)
        depths = @scene.depths(reading)
        most = depths.map(&:last).max or return
        height = 32
        @parts << (text(PAD, @y + 13, "in flight, #{most} at most", "quiet") + curve(depths, [most, 1].max, height))
        @y += height + 6
      end

      # A curve of how many operations are in flight: the largest number in each column.
      def curve(depths, most, height)
        columns = Array.new(WIDTH + 1, 0)
        depths.each_cons(2) { |(from, depth), (to, _)| raise_to(columns, from, to, depth) }
        raise_to(columns, depths.last[0], @scene.finish, depths.last[1])
        base = (@y + height).round(1)
        steps = columns.each_with_index.chunk_while { |(a, _), (b, _)| a == b }.map do |run|
          "V#{(base - (run.first[0] * height.fdiv(most))).round(1)}H#{LEFT + [run.last[1] + 1, WIDTH].min}"
        end
        %(<path class="socket" d="M#{LEFT} #{base}#{steps.join}V#{base}z"/>)
      end

      def raise_to(columns, from, to, depth)
        first, last = [from, to].map { |at| ((at - @scene.start) * @scale).to_i.clamp(0, WIDTH) }
        (first..last).each { |column| columns[column] = [columns[column], depth].max }
      end

      def legend
        entries = [[:running, "runs"], *Words::KINDS.except(:idle)].select { |kind, _| @kinds.include?(kind) }
        entries << [:system, "in the kernel"] if @kinds.include?(:system)
        left = LEFT
        @y += 4
        drawn = entries.map do |kind, words|
          width = 30 + (words.size * 6.2)
          if left + width > LEFT + WIDTH
            left = LEFT
            @y += LANE
          end
          mark = %(<path class="#{kind}" d="#{bar(left.round, 10, HEIGHTS.fetch(kind, LOW))}"/>)
          left += width
          mark + text(left - width + 15, @y + 14, words, "quiet")
        end
        @y += LANE + 4
        drawn.join("\n")
      end
    end
    private_constant :Picture
  end
end
