# frozen_string_literal: true

require_relative "words"

module UringIO
  class Trace
    # A trace as the numbers that page.js draws. The rows of numbers follow each other in one array. An instant is given
    # as the nanoseconds since the instant of the row before, and a word as its number in a list. So the largest trace
    # takes a few megabytes.
    class Columns
      KINDS = Words::KINDS.keys.each_with_index.to_h.freeze
      private_constant :KINDS

      # @param scene [Scene]
      def initialize(scene)
        @scene = scene
        @words = Hash.new { |hash, word| hash[word] = hash.size }
      end

      def to_h
        engines = @scene.readings.zip(@scene.orders).map { |reading, order| engine(reading, order) }
        { length: @scene.length, kinds: Words::KINDS.to_a, engines:, words: @words.keys }
      end

      private

      def engine(reading, order)
        { fibers: reading.fibers.map { |fiber| [fiber.number, fiber.name, Words.place(fiber)] },
          runs: reading.fibers.map { |fiber| rows(fiber.runs) { |from, to| [from, to - from] } },
          waits: reading.fibers.map { |fiber| rows(outer(fiber)) { |wait| wait(fiber, wait, order) } },
          marks: reading.fibers.map { |fiber| rows(fiber.marks) { |at, what| [at, *mark(what)] } },
          enters: rows(reading.enters.sort_by(&:from)) do |enter|
            [enter.from, enter.to - enter.from, enter.submissions, enter.locked]
          end,
          completions: completions(reading), depths: rows(@scene.depths(reading)) { |row| row },
          collections: rows(order.collections) { |from, to| [from, to - from] } }
      end

      # All rows as one array. The block returns the numbers of a row, with an instant first.
      def rows(all)
        last = @scene.start
        all.flat_map do |one|
          at, *rest = yield(one)
          gap = at - last
          last = at
          [gap, *rest]
        end
      end

      def outer(fiber) = fiber.waits.select { |wait| wait.depth.zero? }

      # The numbers of a wait:
      #
      # - when it began, how long it took, and its kind;
      # - after how long the fiber was ready (-1: not known);
      # - the words for it;
      # - the bytes and the result, if it has a single operation;
      # - which fiber ran longest while this one was ready (0: none);
      # - 1 if the wait had not ended.
      def wait(fiber, wait, order)
        ready = order.ready(wait)
        operation = wait.operations.first if wait.operations.one?
        [wait.from, wait.to - wait.from, KINDS.fetch(Words.kind(wait)), ready ? ready - wait.from : -1,
         @words[Words.wait(wait)], operation&.bytes || 0, operation&.result, order.main_cause(fiber, wait)&.number || 0,
         wait.open ? 1 : 0]
      end

      def mark(what)
        what.is_a?(String) ? [@words[what], nil] : [@words[Words.operation(what)], what.result]
      end

      def completions(reading)
        rows(reading.operations.select(&:to).sort_by(&:to)) do |operation|
          [operation.to, @words[Words.operation(operation)], operation.result, operation.fiber&.number || 0]
        end
      end
    end
    private_constant :Columns
  end
end
