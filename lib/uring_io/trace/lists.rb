# frozen_string_literal: true

require_relative "order"
require_relative "words"

module UringIO
  class Trace
    # The longest runs, the longest waits and the longest delays of a trace, each as a sentence. Fibers with the same
    # block that did the same thing share a row, which shows the longest one.
    class Lists
      # +alike+ says how many like it there were, and how long they took in all. +engine+ is an index, and +fiber+ a
      # number.
      Row = Struct.new(:engine, :fiber, :from, :to, :took, :sentence, :alike)
      Found = Struct.new(:engine, :fiber, :from, :to, :took, :what)

      # The most rows of a list.
      MOST = 5
      # Nanoseconds. A shorter run does not keep others waiting.
      LONG = 1_000_000
      # The purposes of the waits that belong into the list. In any other wait the fiber lets others run, or runs them.
      REASONS = ["", "block", "sleep"].freeze
      ADVICE = "Long work lets others run when it calls sleep(0) now and then, or when a thread or process does it."
      private_constant :Found, :MOST, :LONG, :REASONS, :ADVICE

      # @param orders [Array<Order>] of the engines
      def initialize(orders)
        @orders = orders
      end

      # @return [Array<Row>] the longest runs without a pause
      def runs
        @runs ||= longest(each_order { |order, engine| order.runs.map { |run| found_run(run, engine) } }) do |found|
          run_sentence(found)
        end
      end

      # @return [Array<Row>] the longest waits: for the kernel, for other fibers and for time
      def waits
        @waits ||= longest(each_wait { |wait| wait.from if REASONS.include?(wait.purpose) }) do |found|
          wait_sentence(found)
        end
      end

      # @return [Array<Row>] the longest times for which a fiber was ready and did not run
      def delays
        @delays ||= longest(each_wait { |wait, order| order.ready(wait) unless wait.purpose == "run" }) do |found|
          delay_sentence(found)
        end
      end

      # @return [Array<String>] the runs that kept others waiting, or a sentence that says that none did
      def verdict
        sentences = runs.filter_map { |row| row.sentence if row.took >= LONG && held(row).any? }.first(3)
        return [*sentences, ADVICE] if sentences.any?
        return ["No fiber ran."] if runs.empty?

        ["No fiber kept others waiting for long: the longest run without a pause took " \
         "#{Words.duration(runs.first.took)}."]
      end

      private

      def each_order(&) = @orders.each_with_index.flat_map(&)

      def found_run(run, engine) = Found.new(engine, run.fiber, run.from, run.to, run.took, run)

      # The waits for which the block returns an instant. They count from that instant on.
      def each_wait
        each_order do |order, engine|
          order.waits.filter_map do |fiber, wait|
            from = yield(wait, order)
            Found.new(engine, fiber, from, wait.to, wait.to - from, wait) if from
          end
        end
      end

      def longest(all)
        groups = all.group_by { |found| [found.engine, block(found.fiber), words(found.what)] }
        rows = groups.values.map { |group| [group.max_by(&:took), group] }
        rows.sort_by { |found, _| -found.took }.first(MOST).map do |found, group|
          Row.new(found.engine, found.fiber.number, found.from, found.to, found.took, yield(found), alike(group))
        end
      end

      # The place of a fiber's block, or the fiber's number when the place is not known.
      def block(fiber) = fiber.name.empty? ? fiber.number : fiber.name

      # Two waits of the same block are alike when their purpose and their operations are, whatever the peer is.
      def words(what)
        what.is_a?(Order::Run) ? nil : [what.purpose, *what.operations.map(&:name)]
      end

      def alike(group)
        "#{Words.count(group.size)} like it took #{Words.duration(group.sum(&:took))} in all" if group.size > 1
      end

      def held(row)
        order = @orders[row.engine]
        order.held(order.runs.find { |run| run.from == row.from && run.fiber.number == row.fiber })
      end

      def run_sentence(found)
        others = @orders[found.engine].held(found.what).size
        held = ": #{Words.counted(others, 'other')} waited for it" if others.positive?
        "#{name(found.fiber)} ran for #{Words.duration(found.took)} without a pause#{held}#{collected(found)}."
      end

      def collected(found)
        length = @orders[found.engine].collections.sum do |from, to|
          [[to, found.to].min - [from, found.from].max, 0].max
        end
        "; #{Words.duration(length)} of that were the garbage collector's" if length * 10 > found.took
      end

      def wait_sentence(found)
        wait = found.what
        parts = ["#{name(found.fiber)} #{Words.request(wait)}"]
        if wait.open
          parts << "it still waited when the recording ended, #{Words.duration(found.took)} later"
        else
          parts.push(answer(found), ran(found))
        end
        "#{parts.compact.join('; ')}."
      end

      # When the scheduler knew that the wait was over, in words.
      def answer(found)
        wait = found.what
        order = @orders[found.engine]
        ready = order.ready(wait) or return
        after = "#{Words.duration(ready - wait.from)} later"
        "#{outcome(wait, after)}#{hidden(order, wait, order.hiding(found.fiber, wait))}"
      end

      def outcome(wait, after)
        return "the last of them was done #{after}" if wait.operations.size > 1

        operation = wait.operations.first
        return "#{Words.outcome(operation)} #{after}" if operation

        wait.purpose == "sleep" ? "that was over #{after}" : "it could go on #{after}"
      end

      def hidden(order, wait, run)
        return unless run

        name = Words.fiber(run.fiber)
        length = Words.duration(run.took)
        return " (it was asked only when #{name} had run for #{length})" if order.queued?(wait, run)

        " or before (nobody looked while #{name} ran for #{length})"
      end

      # How long it took from then until the fiber ran, and why, in words.
      def ran(found)
        wait = found.what
        ready = @orders[found.engine].ready(wait)
        return "it ran #{Words.duration(found.took)} later" unless ready

        "it ran #{Words.duration(wait.to - ready)} after that#{because(found)}"
      end

      def because(found)
        order = @orders[found.engine]
        causes = order.causes(found.fiber, found.what)
        ready = order.ready(found.what)
        locked = order.locked(found.what)
        return " because another thread had Ruby's lock" if locked * 2 > found.to - ready
        return if causes.empty?
        return " because #{Words.fiber(causes.first.fiber)} was running" if causes.one?

        " because #{causes.size} others were first (#{Words.fiber(causes.first.fiber)} for " \
          "#{Words.duration(causes.first.took)})"
      end

      def delay_sentence(found)
        "#{name(found.fiber)} was ready to go on and ran #{Words.duration(found.took)} later" \
          "#{because(found)}#{"; it had #{Words.request(found.what)}" unless found.what.purpose == 'turn'}."
      end

      def name(fiber) = Words.fiber(fiber).sub(/\A./, &:upcase)
    end
    private_constant :Lists
  end
end
