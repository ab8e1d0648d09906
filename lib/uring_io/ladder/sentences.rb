# frozen_string_literal: true

require_relative "texts"

module UringIO
  class Ladder
    # What a recording says, in plain words.
    class Sentences
      # A figure that has grown less than that counts as flat.
      FLAT = 5
      # Threads that want to run at once on the highest rung: the client, the server and the ring's own.
      PARTIES = 3
      private_constant :FLAT, :PARTIES

      def initialize(reading)
        @reading = reading
      end

      # @return [Array<String>]
      def all = [grown, flat, alike, calls, memory, burnt].compact

      # @return [Array<String>]
      def limits
        @reading.rungs.flat_map do |rung|
          @reading.runs.fetch(rung.name).filter_map { |run| limit_of(rung, run) if run.limit }
        end
      end

      private

      def limit_of(rung, run)
        cause = run.limit[:cause].to_s
        words = Texts::LIMITS.fetch(cause, cause)
        error = run.limit[:error] ? " (#{run.limit[:error]})" : ""
        wanted = Texts.count(run.wanted)
        if run.measured?
          fewer = "#{Texts.count(run.connections)} connections and not #{wanted}"
          return "#{rung.name}: #{fewer}. The limit is #{words}#{error}."
        end

        most = run.limit[:most] ? ", which leaves #{Texts.count(run.limit[:most])}" : ""
        "#{rung.name}: not measured with #{wanted} connections. The limit is #{words}#{error}#{most}."
      end

      def growths = @reading.rungs.to_h { |rung| [rung.name, @reading.growth(rung.name, &:cpu)] }.compact

      def most_and_least = [@reading.connections.max, @reading.connections.min].map { |count| Texts.count(count) }

      def grown
        found = growths.select { |name, times| name != :sqpoll && times >= FLAT }
        return if found.empty?

        words = found.map do |name, times|
          most = @reading.points(name, &:cpu).last.first
          "#{Texts.figure(times)} times as much with #{name} (#{Texts.count(most)} connections)"
        end
        "An exchange grows with the connections that are idle: against #{most_and_least.last} connections it takes " \
          "#{list(words)} of a processor's time."
      end

      def flat
        found = growths.select { |name, times| name != :sqpoll && times < FLAT }.keys
        return if found.empty? || @reading.connections.uniq.one?

        "It stays the same with #{list(found)}: idle connections cost no time."
      end

      def alike
        few = @reading.connections.min
        found = times_with(few).except(:sqpoll)
        return if found.size < 2

        least, most = found.values.minmax.map { |time| Texts.figure(time) }
        "With #{Texts.count(few)} connections all rungs below SQPOLL are alike: an exchange takes #{least} to " \
          "#{most} µs."
      end

      def times_with(count)
        @reading.rungs.to_h do |rung|
          run = @reading.runs.fetch(rung.name).find { |it| it.wanted == count && it.measured? }
          [rung.name, run&.time]
        end.compact
      end

      def calls
        run = together(:io_uring)
        other = together(:epoll)
        return unless run && other

        "When all active connections ask at once, of #{Texts.count(run.connections)}, an exchange takes " \
          "#{Texts.figure(run.calls(:together))} system calls with io_uring and " \
          "#{Texts.figure(other.calls(:together))} with epoll: one call carries the work of many."
      end

      def together(name)
        @reading.runs.fetch(name, []).select { |run| run.measured? && run.calls(:together) }.max_by(&:connections)
      end

      def memory
        run = @reading.runs.fetch(:threads, []).select(&:measured?).max_by(&:connections)
        other = @reading.runs.fetch(:epoll, []).find { |it| run && it.connections == run.connections }
        return unless other && run.connections >= 1000

        "#{Texts.count(run.connections)} threads take #{Texts.bytes(run.memory)} of memory; epoll takes " \
          "#{Texts.bytes(other.memory)} for as many connections."
      end

      def burnt
        run = @reading.runs.fetch(:sqpoll, []).find(&:measured?)
        return unless run

        calls = run.calls.round(2).zero? ? "no system call" : "#{Texts.figure(run.calls)} system calls"
        words = "SQPOLL makes #{calls} and burns processors instead: " \
                "#{Texts.length(run.cpu)} of their time for an exchange."
        processors = @reading.machine[:processors]
        return words if processors >= PARTIES

        "#{words} This machine has #{processors}, and the client, the server and the kernel's thread want one each: " \
          "they wait for each other, and an exchange takes #{Texts.length(run.time)}."
      end

      def list(words)
        *first, last = words
        first.empty? ? last.to_s : "#{first.join(', ')} and #{last}"
      end
    end
  end
end
