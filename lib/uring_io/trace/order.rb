# frozen_string_literal: true

module UringIO
  class Trace
    # Which fiber of one engine ran when. Only one of them runs at a time, so this tells which fiber kept another one
    # waiting.
    class Order
      Run = Struct.new(:fiber, :from, :to) do
        def took = to - from
      end
      # How long one fiber ran while another one was ready.
      Cause = Struct.new(:fiber, :took)

      # Nanoseconds. A shorter run hides completions for a time that nobody notices.
      LONG = 1_000_000
      # How many runs +main_cause+ looks at. A page asks it about every wait, and many fibers become ready together.
      LOOKED_AT = 200
      private_constant :LONG, :LOOKED_AT

      # @return [Array<Run>]
      attr_reader :runs
      # @return [Array<Array(Reading::Fiber, Reading::Wait)>] the waits that are not inside of another wait
      attr_reader :waits
      # @return [Array<Array(Integer, Integer)>] collections of garbage
      attr_reader :collections

      # @param reading [Reading]
      def initialize(reading)
        @runs = reading.fibers.flat_map { |fiber| fiber.runs.map { |from, to| Run.new(fiber, from, to) } }
        @runs.sort_by!(&:from)
        @enters = reading.enters
        # False when a polling thread of the kernel takes the submissions without a call.
        @submits = reading.backend == :io_uring && @enters.any? { |enter| enter.submissions.positive? }
        @collections = reading.collections
        @waits = reading.fibers.flat_map do |fiber|
          fiber.waits.filter_map { |wait| [fiber, wait] if wait.depth.zero? }
        end
      end

      # @return [Integer, nil] when the scheduler knew that the fiber could go on; nil when the records do not tell
      def ready(wait)
        return wait.woken if wait.woken && wait.woken <= wait.to
        return wait.from if wait.purpose == "turn"
        return if wait.open

        wait.operations.filter_map { |operation| operation.to if operation.to && operation.to <= wait.to }.max
      end

      # @return [Array<Cause>] the fibers that ran while this one was ready, the longest first
      def causes(fiber, wait)
        ready = ready(wait) or return []
        causes = Hash.new(0).compare_by_identity
        each_between(ready, wait.to) do |run|
          causes[run.fiber] += [run.to, wait.to].min - [run.from, ready].max unless run.fiber.equal?(fiber)
        end
        causes.map { |other, length| Cause.new(other, length) }.sort_by { |cause| -cause.took }
      end

      # The fiber among those with the longest single run. Unlike +causes+ this adds up no runs, because a page asks it
      # about each wait.
      # @return [Reading::Fiber, nil]
      def main_cause(fiber, wait)
        ready = ready(wait)
        return if ready.nil? || ready >= wait.to

        index = @runs.bsearch_index { |run| run.to > ready } || @runs.size
        last = index + LOOKED_AT
        longest = nil
        length = 0
        while index < last && (run = @runs[index]) && run.from < wait.to
          if run.took > length && !run.fiber.equal?(fiber)
            longest = run.fiber
            length = run.took
          end
          index += 1
        end
        longest
      end

      # Fibers that waited all through this run and could go on at its end, or right after it. The kernel hands over a
      # few completions at a time, so the first look after a run does not find all of them.
      # @return [Array<Reading::Fiber>]
      def held(run)
        @waits.filter_map do |fiber, wait|
          next if fiber.equal?(run.fiber) || wait.purpose == "run" || wait.from > run.from || wait.to < run.to

          ready = ready(wait)
          fiber if ready && ready <= soon_after(run)
        end.uniq
      end

      # The run without which the scheduler could have seen sooner that this wait was over.
      # @return [Run, nil]
      def hiding(fiber, wait)
        ready = ready(wait) or return
        candidates = long_runs.select do |run|
          run.to <= ready && ready <= soon_after(run) && run.from >= wait.from && !run.fiber.equal?(fiber)
        end
        longest = candidates.max_by(&:took)
        longest if longest && longest.took * 10 > ready - wait.from
      end

      # Whether the operations of this wait were still in the ring's queue until this run had ended, so that the kernel
      # did not have them yet.
      def queued?(wait, run)
        from = wait.operations.map(&:from).min
        return false unless @submits && from

        index = @enters.bsearch_index { |enter| enter.to > from } || @enters.size
        while (enter = @enters[index]) && enter.from < run.to
          return false if enter.submissions.positive?

          index += 1
        end
        true
      end

      # The longest time for which another thread had Ruby's lock while this fiber was ready.
      # @return [Integer]
      def locked(wait)
        ready = ready(wait) or return 0
        index = @enters.bsearch_index { |enter| enter.to >= ready } || @enters.size
        longest = 0
        while (enter = @enters[index]) && enter.to < wait.to
          longest = [longest, enter.locked].max
          index += 1
        end
        longest
      end

      private

      def each_between(from, to)
        index = @runs.bsearch_index { |run| run.to > from } || @runs.size
        while (run = @runs[index]) && run.from < to
          yield run
          index += 1
        end
      end

      def soon_after(run) = run.to + (run.took / 10)

      def long_runs = @long_runs ||= @runs.select { |run| run.took >= LONG }
    end
    private_constant :Order
  end
end
