# frozen_string_literal: true

require_relative "order"

module UringIO
  class Trace
    # The contents of a page or picture: one Reading for each scheduler, selector or ring, and the time from the first
    # record of all to the last.
    class Scene
      # @return [Array<Reading>]
      attr_reader :readings
      # @return [Array<Order>] one for each reading
      attr_reader :orders
      # @return [Integer]
      attr_reader :start, :finish

      # @param trace [Trace]
      def initialize(trace)
        @readings = trace.engines
        @orders = @readings.map { |reading| Order.new(reading) }
        spans = @readings.zip(@orders).map { |reading, order| span(reading, order) }
        @start = spans.filter_map(&:first).min || 0
        @finish = [spans.filter_map(&:last).max || 0, @start + 1].max
      end

      def length = @finish - @start

      # How many operations the kernel has, over time.
      # @return [Array<Array(Integer, Integer)>] an instant, and how many from then until the next instant
      def depths(reading)
        changes = Hash.new(0)
        reading.operations.each do |operation|
          # An operation that was over at once was never in flight.
          next if operation.to.nil? && operation.result

          changes[operation.from] += 1
          changes[operation.to] -= 1 if operation.to
        end
        depth = 0
        changes.sort.map { |at, change| [at, depth += change] }
      end

      private

      def span(reading, order)
        waits = order.waits.map(&:last)
        begins = [order.runs.first&.from, waits.map(&:from).min, reading.enters.map(&:from).min]
        ends = [order.runs.map(&:to).max, waits.map(&:to).max, reading.enters.last&.to,
                reading.operations.filter_map(&:to).max]
        [begins.compact.min, ends.compact.max]
      end
    end
    private_constant :Scene
  end
end
