# frozen_string_literal: true

module UringIO
  class Trace
    # Who ran when, in one engine: only one fiber at a time does. From that follows who kept whom waiting.
    class Order
      Run = Struct.new(:fiber, :from, :to) do
        def took = to - from
      end
      # How much one fiber had of the time in which another one was ready.
      Cause = Struct.new(:fiber, :took)

      # A run that is shorter hides nothing that anybody would notice.
      LONG = 1_000_000
      # Runs that we look at for who kept a fiber waiting: many become ready together, and a page asks for each.
      LOOKED_AT = 200
      private_constant :LONG, :LOOKED_AT

      # @return [Array<Run>]
      attr_reader :runs
      # @return [Array<Array(Reading::Fiber, Reading::Wait)>] those of fibers that are in nothing else's wait
      attr_reader :waits
      # @return [Array<Array(Integer, Integer)>] collections of garbage
      attr_reader :collections

      # @param reading [Reading]
      def initialize(reading)
        @runs = reading.fibers.flat_map { |fiber| fiber.runs.map { |from, to| Run.new(fiber, from, to) } }
        @runs.sort_by!(&:from)
        @enters = reading.enters
        # A polling thread of the kernel takes submissions without a call.
        @submits = reading.backend == :io_uring && @enters.any? { |enter| enter.submissions.positive? }
        @collections = reading.collections
        @waits = reading.fibers.flat_map do |fiber|
          fiber.waits.filter_map { |wait| [fiber, wait] if wait.depth.zero? }
        end
      end

      # @return [Integer, nil] when a fiber could go on, as far as the scheduler knew; nil when that is not recorded
      def ready(wait)
        return wait.woken if wait.woken && wait.woken <= wait.to
        return wait.from if wait.purpose == "turn"
        return if wait.open

        wait.operations.filter_map { |operation| operation.to if operation.to && operation.to <= wait.to }.max
      end

      # @return [Array<Cause>] who ran while this fiber was ready, the longest first
      def causes(fiber, wait)
        ready = ready(wait) or return []
        causes = Hash.new(0).compare_by_identity
        each_between(ready, wait.to) do |run|
          causes[run.fiber] += [run.to, wait.to].min - [run.from, ready].max unless run.fiber.equal?(fiber)
        end
        causes.map { |other, length| Cause.new(other, length) }.sort_by { |cause| -cause.took }
      end

      # Of them the one with the longest run; without sums, as a page asks this of each wait.
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

      # Fibers that waited all through this run, and could go on by its end, or right after it: the kernel hands a few
      # completions over at a time, so that the first look does not find all that was ready.
      # @return [Array<Reading::Fiber>]
      def held(run)
        @waits.filter_map do |fiber, wait|
          next if fiber.equal?(run.fiber) || wait.purpose == "run" || wait.from > run.from || wait.to < run.to

          ready = ready(wait)
          fiber if ready && ready <= soon_after(run)
        end.uniq
      end

      # The run that kept the scheduler from seeing sooner that this wait was over.
      # @return [Run, nil]
      def hiding(fiber, wait)
        ready = ready(wait) or return
        candidates = long_runs.select do |run|
          run.to <= ready && ready <= soon_after(run) && run.from >= wait.from && !run.fiber.equal?(fiber)
        end
        longest = candidates.max_by(&:took)
        longest if longest && longest.took * 10 > ready - wait.from
      end

      # Whether the operations of this wait were in the queue only, and not with the kernel, until this run had ended.
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

      # The longest time that another thread had Ruby's lock while this fiber was ready.
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
