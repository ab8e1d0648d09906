# frozen_string_literal: true

require "erb"
require_relative "curve"
require_relative "lanes"
require_relative "texts"

module UringIO
  class Ladder
    # The pictures of a ladder, for the page and as files of their own.
    module Pictures
      # The colours of light mode, by the names that the pictures use.
      LIGHT = { text: "#1b1f24", quiet: "#59636e", line: "#d1d9e0", moment: "#8c959f", client: "#8c959f",
                call: "#8250df", store: "#1b7c83", wait: "#d8c8f5", threads: "#cf5c0a", select: "#bf3989",
                poll: "#cf222e", epoll: "#0969da", io_uring: "#1a7f37", sqpoll: "#6e5a00" }.freeze
      DARK = { text: "#e6edf3", quiet: "#9198a1", line: "#3d444d", moment: "#656c76", client: "#8b949e",
               call: "#ab7df8", store: "#39c5cf", wait: "#3d2f5c", threads: "#f0883e", select: "#f778ba",
               poll: "#f85149", epoll: "#4493f8", io_uring: "#3fb950", sqpoll: "#d4b93c" }.freeze
      SERIES = %i[threads select poll epoll io_uring sqpoll].freeze

      # The style of everything that the pictures draw.
      STYLE = <<~CSS.freeze
        svg text { font: 12px system-ui, sans-serif; fill: var(--text); }
        svg text.quiet { fill: var(--quiet); }
        svg text.end { text-anchor: end; }
        svg text.middle { text-anchor: middle; }
        svg text.name { font-weight: 600; }
        svg .grid { stroke: var(--line); fill: none; }
        svg .moment { stroke: var(--moment); stroke-dasharray: 3 3; fill: none; }
        svg .line { fill: none; stroke-width: 2; }
        #{%i[client call store wait].map { |name| "svg .#{name} { fill: var(--#{name}); }" }.join("\n")}
        #{SERIES.map { |name| "svg .line.#{name} { stroke: var(--#{name}); }" }.join("\n")}
        #{SERIES.map { |name| "svg circle.#{name}, svg text.#{name} { fill: var(--#{name}); }" }.join("\n")}
      CSS

      class << self
        # @return [Hash{String => String}] SVG images by their names
        def all(reading)
          lanes = reading.rungs.flat_map do |rung|
            { rung.name => reading.shown(rung.name),
              "#{rung.name}-crowded" => reading.crowded(rung.name) }.compact.map do |name, run|
              ["ladder-#{name}", Lanes.new(run.exchange)]
            end
          end
          curves = curves(reading).map { |name, curve| ["ladder-#{name}", curve] }
          [*lanes, *curves].to_h { |name, picture| [name, alone(picture)] }
        end

        # @return [Hash{Symbol => Curve}]
        def curves(reading)
          micros = ->(number) { Texts.length(number) }
          plain = ->(number) { Texts.figure(number) }
          { processor: Curve.new(reading, "Processor time of an exchange", micros, &:cpu),
            time: Curve.new(reading, "Time from a request to its answer", micros, &:time),
            calls: Curve.new(reading, "System calls of an exchange when all active connections ask at once",
                             plain) do |run|
                     run.calls(:together) || run.calls
                   end,
            memory: Curve.new(reading, "Memory that the rung takes", ->(number) { Texts.bytes(number.round) }) do |run|
              run.memory && [run.memory, 1 << 10].max
            end }
        end

        # A picture as an element of a page. The page has the style.
        def within(picture)
          words = ERB::Util.h(picture.words)
          %(<svg viewBox="0 0 #{picture.width} #{picture.height}" role="img" aria-label="#{words}">\n#{picture}\n</svg>)
        end

        # The colours as custom properties of a style sheet.
        def colors(names) = names.map { |name, color| "--#{name}: #{color};" }.join(" ")

        private

        def alone(picture)
          <<~SVG
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{picture.width} #{picture.height}" role="img"
                 width="#{picture.width}" height="#{picture.height}">
            <title>#{ERB::Util.h(picture.words)}</title>
            <style>
            svg { #{colors(LIGHT)} }
            @media (prefers-color-scheme: dark) { svg { #{colors(DARK)} } }
            #{STYLE}</style>
            #{picture}
            </svg>
          SVG
        end
      end
    end
  end
end
