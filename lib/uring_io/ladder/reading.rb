# frozen_string_literal: true

require_relative "sentences"
require_relative "texts"

module UringIO
  class Ladder
    # The runs of a recording, by rungs and connections. Each run has figures of one exchange.
    class Reading
      # One rung with one number of connections.
      class Run
        # @param found [Hash] a run of the recording
        def initialize(found)
          @found = found
        end

        def wanted = @found[:wanted]

        def connections = @found[:connections]

        def measured? = @found.key?(:turns)

        # The limit that reduced the connections, or kept the run from being measured.
        def limit = @found[:limit] || @found[:cut]

        # Microseconds of processor time, including the ring's own thread.
        def cpu(load = :turns) = microseconds(load) { |cost| cost[:cpu] + (cost[:kernel_thread] || 0) }

        # The part of these microseconds that +part+ used, for example +:system+.
        def cpu_of(part) = microseconds(:turns) { |cost| cost[part] }

        # System calls.
        def calls(load = :turns)
          cost = @found[load] and cost[:calls].fdiv(cost[:exchanges])
        end

        # Microseconds from a request to its answer.
        def time = measured? && (@found[:turns][:median] * 1e6)

        # Bytes of memory, of the process and of the kernel together.
        def memory = measured? && @found[:memory].sum { |_, bytes| [bytes, 0].max }

        # One exchange as it happened.
        def exchange = @found[:exchange]

        private

        def microseconds(load)
          cost = @found[load] or return
          seconds = yield(cost) or return
          seconds * 1e6 / cost[:exchanges]
        end
      end

      def initialize(recording)
        @recording = recording
        @runs = recording[:runs].group_by { |run| run[:rung].to_sym }.transform_values do |runs|
          runs.map { |run| Run.new(run) }
        end
      end

      attr_reader :runs

      def machine = @recording[:machine]

      def seconds = @recording[:seconds]

      # @return [Array<Rung>] the rungs of this recording, from the lowest
      def rungs = Texts::RUNGS.select { |rung| runs.key?(rung.name) }

      # @return [Array<Integer>] from the fewest
      def connections = runs.values.first.map(&:wanted)

      # The run whose exchange the page shows: the one with the fewest connections. With a polling thread it is the run
      # with the fastest exchange, because the others show waits for a processor.
      def shown(rung)
        measured = runs.fetch(rung).select(&:measured?)
        rung == :sqpoll ? measured.min_by { |run| run.exchange[:answered] } : measured.first
      end

      # The run with the most connections, for the rungs that hand the kernel the list of connections with each call.
      def crowded(rung)
        return unless %i[select poll].include?(rung)

        most = runs.fetch(rung).select(&:measured?).max_by(&:connections)
        most if most && most.connections > shown(rung).connections
      end

      # @return [Array<Array(Integer, Float)>] connections and a figure, for each figure above 0
      def points(rung)
        found = runs.fetch(rung).select(&:measured?).map { |run| [run.connections, yield(run)] }
        found.select { |_, figure| figure&.positive? }
      end

      # By which factor a figure grows from the fewest connections to the most. Nil when there are fewer than two
      # figures.
      def growth(rung, &)
        return unless runs.key?(rung)

        (_, first), *, (_, last) = points(rung, &)
        last && (last / first)
      end

      def sentences = Sentences.new(self).all

      def limits = Sentences.new(self).limits
    end
  end
end
