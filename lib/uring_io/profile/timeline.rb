# frozen_string_literal: true

module UringIO
  class Profile
    # The time of one thread as spans, in order. During a span the thread does one thing.
    class Timeline
      # From +from+ to +to+, in seconds since the beginning, the thread did +kind+, for +peer+.
      Span = Struct.new(:from, :to, :kind, :peer)

      # A timeline keeps this many spans, and leaves out later ones.
      MOST = 20_000

      def initialize
        @spans = []
      end

      # Adds a tick from +from+ to +to+. All of it counts as the thing that took most of it.
      def add(tick, from, to)
        kind, peer = foremost(tick)
        last = @spans.last
        if last && last.kind == kind && last.peer == peer && (from - last.to).abs < 1e-6
          last.to = to
        elsif @spans.size < MOST
          @spans << Span.new(from, to, kind, peer)
        end
      end

      def to_a = @spans.map { |span| [span.from.round(6), span.to.round(6), span.kind.to_s, span.peer] }

      private

      def foremost(tick)
        return [:running, nil] if tick.ran >= tick.delayed && tick.ran >= tick.slept
        return [:runnable, nil] if tick.delayed >= tick.slept

        [tick.wait.kind, tick.wait.peer]
      end
    end
  end
end
