# frozen_string_literal: true

require_relative "waits"

module UringIO
  class Profile
    # The counts of all processes' agents, in words: for the table and the page.
    class Counted
      # A line of words about one kind of wait.
      Line = Data.define(:what, :words)

      # The most peers of fibers that the profile names.
      MOST = 8
      # The profile names the GVL and the garbage collector only from this share of the time on.
      WORTH_A_LINE = 0.005
      # Waits that can overlap with other waits.
      OUTSIDE = %w[socket pipe file child name].freeze
      private_constant :MOST, :WORTH_A_LINE, :OUTSIDE

      # @param recording [Hash] as of {Profile#to_h}
      # @param shares [Shares]
      def initialize(recording, shares)
        @agents = recording.fetch(:processes).filter_map { |process| process[:agent] }
        @shares = shares
      end

      # @return [Array<Line>] empty when there was no agent
      def lines
        return [] if @agents.empty?

        [*gvl, *collector, *fibers, *schedulers]
      end

      # @return [Float] how many fibers wait for something outside of the process at the same time, on average over the
      #   time in which the process itself waits for such a thing; 0 when it never does
      def overlapping
        waits = waits().select { |wait| OUTSIDE.include?(wait[:kind]) }
        seconds = waits.sum { |wait| wait[:seconds] }
        outside = @shares.of(*OUTSIDE.map(&:to_sym))
        return 0.0 unless outside.positive?

        # Fibers also wait while the thread computes, and +outside+ does not have that time. So the quotient may be too
        # large, and we limit it to the most fibers that waited at one time.
        [seconds / outside, @agents.sum { |agent| agent[:fibers][:at_most] }].min
      end

      private

      def sum(part, name) = @agents.sum { |agent| agent[part][name] }

      def most(part, name) = @agents.map { |agent| agent[part][name] }.max

      def gvl
        return if @shares.gvl < WORTH_A_LINE

        Line.new("the GVL", "threads waited #{time(sum(:gvl, :seconds))} for it in #{count(sum(:gvl, :count))}, " \
                            "#{time(most(:gvl, :longest))} at most: #{(@shares.gvl * 100).round} % of the time " \
                            "in which they had something to do")
      end

      def collector
        return if @shares.of(:gc) < WORTH_A_LINE * @shares.busy

        number = sum(:gc, :count)
        Line.new("the garbage collector", "#{number} collection#{'s' if number != 1}, #{time(sum(:gc, :seconds))} in " \
                                          "all, #{time(most(:gc, :longest))} at a time at most")
      end

      def waits
        groups = @agents.flat_map { |agent| agent[:fibers][:waits] }.group_by { |wait| wait.values_at(:kind, :peer) }
        merged = groups.map do |(kind, peer), group|
          { kind:, peer:, seconds: group.sum { |wait| wait[:seconds] }, count: group.sum { |wait| wait[:count] } }
        end
        merged.sort_by { |wait| -wait[:seconds] }
      end

      def fibers
        found = waits
        return [] if found.empty?

        shown = found.first(MOST).map do |wait|
          Line.new("fibers #{Shares.words(wait[:kind].to_sym, wait[:peer])}",
                   "#{time(wait[:seconds])} in #{count(wait[:count])}, #{time(wait[:seconds] / wait[:count])} each")
        end
        more = found.size > MOST ? ", for #{found.size - MOST} more peers as well" : ""
        [Line.new("fibers", "at most #{most(:fibers, :at_most)} waited at the same time#{more}"), *shown]
      end

      def schedulers
        @agents.filter_map { |agent| agent[:scheduler] }.group_by { |one| one[:class] }.map do |name, group|
          counted = group.select { |one| one[:enters] }
          next Line.new(name, "is the fiber scheduler") if counted.empty?

          enters, operations, switches = %i[enters submissions switches].map { |key| counted.sum { |one| one[key] } }
          Line.new(name, "#{enters} system calls that submit or wait, #{operations} operations, " \
                         "#{switches} switches of fibers")
        end
      end

      def count(waits) = waits == 1 ? "1 wait" : "#{waits} waits"

      def time(seconds) = seconds < 0.0995 ? "#{format('%.2f', seconds * 1000)} ms" : "#{format('%.2f', seconds)} s"
    end
    private_constant :Counted
  end
end
