# frozen_string_literal: true

require_relative "waits"

module UringIO
  class Profile
    # The wall time of all processes together, by its uses.
    class Shares
      # One thing that time was spent on.
      #
      # @!parse
      #   # One thing that time was spent on.
      #   class Row < Data
      #     # @return [Symbol] :computing, :system, :runnable, :socket, :pipe, :file, :child, :asleep, :gvl, :lock,
      #     #   :gc, :idle or :other
      #     attr_reader :kind
      #     # @return [String, nil] the peer of a wait, for example "postgresql at 127.0.0.1:5432"
      #     attr_reader :peer
      #     # @return [Float]
      #     attr_reader :seconds
      #     # @return [Float] the part of these seconds in which the process did nothing else
      #     attr_reader :serial
      #   end
      Row = Data.define(:kind, :peer, :seconds, :serial)

      LABELS = { computing: "computing", gc: "collecting garbage", running: "running",
                 system: "system calls (in the kernel)", runnable: "no processor was free" }
               .merge(WAITS.transform_values { |words| "waiting for #{words}" }, asleep: "asleep", idle: "idle").freeze
      private_constant :LABELS

      # @return [Array<Row>] the largest first
      attr_reader :rows

      # Seconds for which threads waited for the GVL, all threads together. These are not part of the wall time, because
      # another thread of the process mostly ran meanwhile.
      attr_reader :contention

      # @param recording [Hash] as of {Profile#to_h}
      def initialize(recording)
        processes = recording.fetch(:processes)
        @contention = contention_of(processes)
        @rows = (ran(processes) + waits(processes)).reject { |row| row.seconds.zero? }.sort_by { |row| -row.seconds }
      end

      # Seconds of all processes. If there are several, waits for a child do not count, because the child itself does.
      def total = rows.sum(&:seconds)

      # Seconds in which the program was not idle.
      def busy = total - of(:idle)

      # Seconds of a kind.
      def of(*kinds) = rows.sum { |row| kinds.include?(row.kind) ? row.seconds : 0.0 }

      # @return [Float] of the time in which threads wanted to run Ruby, the part in which they waited for the GVL
      def gvl
        wanted = of(:computing, :system, :gc, :runnable) + contention
        wanted.positive? ? contention / wanted : 0.0
      end

      # Seconds in which a process waited for one thing outside of it, and did nothing else.
      def serial = rows.sum(&:serial)

      # The largest row of a kind.
      def largest(kind) = rows.find { |row| row.kind == kind }

      # Words for a row.
      def label(row) = Shares.words(row.kind, row.peer)

      # Words for one use of time.
      # @api private
      def self.words(kind, peer)
        case kind
        when :socket, :file, :lock then peer ? "waiting for #{peer}" : LABELS.fetch(kind)
        when :idle then [LABELS.fetch(:idle), peer].compact.join(": ")
        else LABELS.fetch(kind)
        end
      end

      # @return [Hash] as in {Profile#to_h}
      def to_h
        all = rows.map { |row| { **row.to_h, kind: row.kind.to_s, label: label(row) } }
        { total:, busy:, contention:, gvl:, rows: all }
      end

      private

      # Agents count this exactly, also for threads that began and ended between two looks.
      def contention_of(processes)
        inside, outside = processes.partition { |process| process[:agent] }
        inside.sum { |process| process[:agent][:gvl][:seconds] } + contention_seen(outside)
      end

      def contention_seen(processes)
        waits = processes.flat_map { |process| process.fetch(:threads) }.flat_map { |thread| thread.fetch(:waits) }
        waits.sum { |wait| wait[:kind] == "gvl" ? wait[:seconds] : 0.0 }
      end

      def ran(processes)
        %i[computing gc system runnable].map do |kind|
          Row.new(kind, nil, processes.sum { |process| process.fetch(kind) }, 0.0)
        end
      end

      def waits(processes)
        all = processes.flat_map { |process| process.fetch(:waits) }
        all = all.reject { |wait| wait[:kind] == "child" } if processes.size > 1
        all.group_by { |wait| [wait[:kind], wait[:peer]] }.map do |(kind, peer), group|
          Row.new(kind.to_sym, peer, group.sum { |wait| wait[:seconds] }, group.sum { |wait| wait[:serial] })
        end
      end
    end
  end
end
