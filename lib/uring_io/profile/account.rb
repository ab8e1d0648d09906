# frozen_string_literal: true

require_relative "timeline"
require_relative "waits"

module UringIO
  class Profile
    # Where the time of one process went. At each tick the sampler adds what the threads did. The sums of the process
    # add up to its wall time, and the sums of a thread to the thread's.
    class Account
      # One thread in one tick, in seconds. The thread slept for +slept+ seconds in +wait+, which has lasted
      # +asleep_for+ so far. Of the time before the tick, the account has +late+ seconds as the wait +was+, although the
      # thread waited for a processor then.
      Tick = Data.define(:id, :name, :ran, :delayed, :slept, :wait, :asleep_for, :late, :was)

      # The sums of a thread, in seconds.
      Thread = Struct.new(:id, :name, :seconds, :ran, :delayed, :waits, :timeline)

      # Waits for something outside of the process.
      OUTSIDE = %i[socket file pipe child].freeze
      # When threads wait for different things, only the waits of the first of these groups count.
      ORDER = [[*OUTSIDE, :other], %i[asleep], %i[gvl], %i[idle], %i[lock]].freeze
      # Seconds. In a server, a thread that sleeps for longer, or waits for longer for a lock or pipe, counts as
      # maintenance: nobody waits for it.
      MAINTENANCE = 1.0
      # A thread that has slept for this share of its time, a little at a time, counts as maintenance as well.
      MOSTLY = 0.8
      TIMERS = [Waits::TIMER, Waits::TURNS].freeze
      private_constant :OUTSIDE, :ORDER, :MAINTENANCE, :MOSTLY, :TIMERS

      attr_reader :pid, :name, :seconds, :ran, :delayed, :waits, :serial, :threads

      # When the sampler last looked at the process, in seconds since the beginning.
      attr_reader :until
      attr_accessor :user, :system, :calls, :visible

      def initialize(pid, name)
        @pid = pid
        @name = name
        @seconds = @ran = @delayed = @until = 0.0
        @waits = Hash.new(0.0)
        # The part of each wait in which the process did nothing else.
        @serial = Hash.new(0.0)
        @threads = {}
        @user = @system = @calls = 0
        @visible = true
      end

      # @param at [Float] seconds since the beginning, at the end of the tick
      # @param length [Float] of the tick, in seconds
      # @param ticks [Array<Tick>]
      def add(at, length, ticks)
        @seconds += length
        @until = at
        ticks.each do |tick|
          add_to_thread(at, length, tick)
          correct(tick) if tick.late.positive?
        end
        # It does not matter whether Ruby's timer has a processor.
        ticks = ticks.reject { |tick| TIMERS.include?(tick.wait) }
        busy = ticks.sum { |tick| tick.ran + tick.delayed }
        # Threads that run at the same time share the second.
        share = busy > length ? length / busy : 1.0
        @ran += ticks.sum(&:ran) * share
        @delayed += ticks.sum(&:delayed) * share
        rest(length - (busy * share), ticks)
      end

      # @return [Hash] as in {Profile#to_h}
      def to_h
        { pid:, command: name, seconds:, computing: ran - in_kernel, system: in_kernel, runnable: delayed, calls:,
          visible:, waits: listed(waits, serial), threads: threads.values.map { |thread| thread_hash(thread) } }
      end

      private

      # The kernel counts the time of a thread in nanoseconds, and the part of it in the kernel only in clock ticks.
      def in_kernel
        all = user + system
        all.positive? ? @ran * system / all : 0.0
      end

      def listed(waits, serial = {})
        waits.sort_by { |_, seconds| -seconds }.map do |wait, seconds|
          { kind: wait.kind.to_s, peer: wait.peer, seconds:, serial: serial.fetch(wait, 0.0) }
        end
      end

      def thread_hash(thread)
        { id: thread.id, name: thread.name, seconds: thread.seconds, ran: thread.ran, runnable: thread.delayed,
          waits: listed(thread.waits).map { |wait| wait.except(:serial) }, timeline: thread.timeline.to_a }
      end

      def add_to_thread(at, length, tick)
        thread = @threads[tick.id] ||= Thread.new(tick.id, tick.name, 0.0, 0.0, 0.0, Hash.new(0.0), Timeline.new)
        thread.timeline.add(tick, at - length, at)
        thread.seconds += length
        thread.ran += tick.ran
        thread.delayed += tick.delayed
        thread.waits[tick.wait] += tick.slept if tick.slept.positive?
      end

      def correct(tick)
        thread = @threads[tick.id]
        thread.waits[tick.was] -= tick.late
        thread.delayed += tick.late
        # The process may have less of that wait than the thread, because other threads may have run meanwhile.
        late = [tick.late, @waits[tick.was]].min
        @waits[tick.was] -= late
        @serial[tick.was] -= [late, @serial[tick.was]].min
        @delayed += late
      end

      # Divides the part of a tick in which no thread ran among the waits of the threads.
      def rest(seconds, ticks)
        return unless seconds.positive?

        counted = foremost(ticks)
        sum = counted.sum(&:slept)
        return @waits[Waits::IDLE] += seconds unless sum.positive?

        counted.each { |tick| @waits[tick.wait] += seconds * tick.slept / sum }
        only = counted.first.wait
        @serial[only] += seconds if counted.size == 1 && OUTSIDE.include?(only.kind)
      end

      def foremost(ticks)
        sleeping = ticks.select { |tick| tick.slept.positive? }
        server = sleeping.any? { |tick| tick.wait.kind == :idle && tick.wait.peer&.start_with?("for clients") }
        sleeping = sleeping.reject { |tick| maintenance?(tick) } if server
        ORDER.each do |kinds|
          found = sleeping.select { |tick| kinds.include?(tick.wait.kind) }
          return found if found.any?
        end
        []
      end

      def maintenance?(tick)
        return false unless %i[asleep lock pipe].include?(tick.wait.kind)

        tick.asleep_for > MAINTENANCE || only_sleeps?(@threads[tick.id])
      end

      # Whether the thread only wakes up now and then, to see whether there is anything to do.
      def only_sleeps?(thread)
        asleep = thread.waits.sum { |wait, seconds| wait.kind == :asleep ? seconds : 0.0 }
        thread.seconds > MAINTENANCE && asleep > MOSTLY * thread.seconds
      end
    end
  end
end
