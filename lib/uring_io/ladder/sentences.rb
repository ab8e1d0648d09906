# frozen_string_literal: true

require_relative "texts"

module UringIO
  class Ladder
    # The results of a recording, in plain words.
    class Sentences
      # A figure that grows by a smaller factor counts as flat.
      FLAT = 5
      # Times that differ by this factor at most count as alike.
      ALIKE = 3
      # How many threads want to run at the same time on the highest rung: the client, the server and the ring's own.
      PARTIES = 3
      private_constant :ALIKE, :FLAT, :PARTIES

      def initialize(reading)
        @reading = reading
      end

      # @return [Array<String>]
      def all = [alike, grown, flat, calls, memory, burnt].compact

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

      # For each rung that sleeps until a request comes: by which factor its processor time grows from the fewest
      # connections to the most.
      def growths
        found = @reading.rungs.to_h { |rung| [rung.name, @reading.growth(rung.name, &:cpu)] }
        found.compact.except(:sqpoll)
      end

      def grown
        found = growths.select { |_, times| times >= FLAT }
        return if found.empty?

        words = found.map do |name, times|
          most = @reading.points(name, &:cpu).last.first
          "#{Texts.figure(times)} times the processor time with #{name} (#{Texts.count(most)} connections)"
        end
        "Idle connections cost time with #{list(found.keys)}: against #{Texts.count(@reading.connections.first)} " \
          "connections, an exchange takes #{list(words)}."
      end

      def flat
        found = growths.select { |_, times| times < FLAT }
        return if found.empty?

        least, most = found.values.minmax.map { |times| Texts.figure(times) }
        "Idle connections hardly matter with #{list(found.keys)}: an exchange takes #{least} to #{most} times as much."
      end

      def alike
        few = @reading.connections.first
        least, most = times_with(few).except(:sqpoll).values.minmax
        return if least.nil? || least == most || most > ALIKE * least

        "With #{Texts.count(few)} connections all rungs below SQPOLL are alike: an exchange takes " \
          "#{Texts.figure(least)} to #{Texts.figure(most)} µs."
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

        times = [run, other].map { |it| it.cpu(:together) }
        saved = " Calls are the smaller part of its cost: #{Texts.length(times[0])} and " \
                "#{Texts.length(times[1])} of a processor."
        "When all active connections ask at once, of #{Texts.count(run.connections)}, an exchange takes " \
          "#{Texts.figure(run.calls(:together))} system calls with io_uring and " \
          "#{Texts.figure(other.calls(:together))} with epoll: one call carries the work of many." \
          "#{saved if times[0] > times[1] / 2}"
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
        runs = @reading.runs.fetch(:sqpoll, []).select(&:measured?)
        return if runs.empty?

        most = runs.map(&:calls).max
        calls = most.round(2).zero? ? "no system call" : "#{Texts.figure(most)} system calls"
        words = "SQPOLL makes #{calls} and burns processors instead: #{range(runs,
                                                                             &:cpu)} of their time for an exchange."
        processors = @reading.machine[:processors]
        return words if processors >= PARTIES

        "#{words} This machine has #{processors}, and the client, the server and the kernel's thread want one each: " \
          "when they have to wait for each other, an exchange takes long (#{range(runs, &:time)} here)."
      end

      def range(runs, &)
        least, most = runs.map(&).minmax.map { |number| Texts.length(number) }
        least == most ? least : "#{least} to #{most}"
      end

      def list(words)
        *first, last = words
        first.empty? ? last.to_s : "#{first.join(', ')} and #{last}"
      end
    end
  end
end
