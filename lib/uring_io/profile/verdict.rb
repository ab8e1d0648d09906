# frozen_string_literal: true

require_relative "shares"

require_relative "counted"
require_relative "exact"

module UringIO
  class Profile
    # How much io_uring, a fiber scheduler or something else could help the recorded program: upper bounds with their
    # arithmetic, in words.
    class Verdict
      # Names for the largest part of a program's busy time.
      CLASSES = { computing: :computing, gc: :gc, system: :system, runnable: :processors, gvl: :gvl, asleep: :asleep,
                  lock: :lock, socket: :socket, pipe: :pipe, file: :file, child: :child, other: :other }.freeze
      # A program that was busy for less than this share of the time has nothing to gain.
      IDLE_BELOW = 0.02
      # Gains below this share are not worth a change.
      WORTH = 0.1
      # With fewer looks than this we give no verdict.
      LOOKS = 20
      private_constant :CLASSES, :IDLE_BELOW, :WORTH, :LOOKS

      # @return [Symbol] :idle, :asleep, :computing, :gc, :system, :processors, :gvl, :lock, :socket, :pipe, :file,
      #   :child, :other, or :unknown when we saw too little
      attr_reader :kind

      # @return [Float] the share of the busy time that io_uring could save at most
      attr_reader :io_uring_at_most

      # @return [Float] the share of the busy time that io_uring is likely to save
      attr_reader :io_uring_likely

      # @return [Float] the share of the busy time that overlapping could save at most, where waits follow one another
      attr_reader :overlap_at_most

      # @return [Array<String>]
      attr_reader :sentences

      def initialize(recording, shares)
        @shares = shares
        @recording = recording
        @busy = shares.busy
        @kind = found_kind
        @io_uring_at_most = share(shares.of(:system))
        @io_uring_likely = [io_uring_at_most, share(batched_calls * recording.fetch(:call_cost))].min
        @overlapping = Counted.new(recording, shares).overlapping
        @overlap_at_most = share(shares.serial)
        @sentences = say
      end

      # Whether io_uring or a fiber scheduler could save a tenth of the busy time or more.
      def worth_it?
        gain = overlapped? ? io_uring_likely : [io_uring_likely, overlap_at_most].max
        gain >= WORTH && !%i[idle asleep unknown].include?(kind)
      end

      # @return [Hash] as in {Profile#to_h}
      def to_h
        { kind: kind.to_s, worth_it: worth_it?, io_uring_at_most:, io_uring_likely:, overlap_at_most:, sentences: }
      end

      # @return [String] one sentence a line
      def to_s = sentences.join("\n")

      private

      def found_kind
        return :unknown if @recording[:seconds] * @recording[:rate] < LOOKS || @shares.total.zero?
        return :idle if @busy < IDLE_BELOW * @shares.total

        return :gvl if fights_for_the_gvl?

        sums = CLASSES.keys.to_h { |kind| [kind, @shares.of(kind)] }
        CLASSES.fetch(sums.max_by(&:last).first)
      end

      # Whether one thread computes while others want to.
      def fights_for_the_gvl?
        ran = @shares.of(:computing, :gc, :runnable, :gvl)
        ran > @busy / 2 && @shares.contention > @busy / 2
      end

      def share(seconds) = @busy.positive? ? seconds / @busy : 0.0

      # The number of reads and writes: a ring needs no system call for each. The kernel's counters leave out recv(2)
      # and send(2) on sockets. Our own scheduler counts those, and so does strace.
      def batched_calls
        counted = @recording.dig(:exact, :calls)&.select { |call| call[:kind] == Exact::TRANSFERS }
        return counted.sum { |call| call[:count] } if counted

        @recording[:processes].sum do |process|
          process[:calls] + (process.dig(:agent, :scheduler, :direct_calls) || 0)
        end
      end

      def say
        case kind
        when :unknown then ["Too little was seen to say anything: let it run for longer, or look more often (--rate)."]
        when :idle then [nothing("the program was idle for #{percent(1 - (@busy / @shares.total))} of the time")]
        when :asleep
          [nothing("the program slept for #{percent(share(@shares.of(:asleep)))} of the time, and nothing makes a " \
                   "sleep shorter")]
        else [*leading, io_uring, overlap].compact
        end
      end

      def nothing(reason) = "There is nothing to gain by io_uring or by a fiber scheduler: #{reason}."

      def leading
        case kind
        when :computing
          ["It computes: #{second(:computing)} of each busy second. Look at YJIT, allocations, and more processes."]
        when :gc
          ["It collects garbage: #{second(:gc)} of each busy second. Look at what it allocates, and how large it is."]
        when :processors
          ["It waits for a processor: #{second(:runnable)} of each busy second. The machine has too few for what runs."]
        when :gvl
          ["Its threads fight for the GVL: while one runs, #{format('%.1f', share(@shares.contention))} others wait " \
           "for their turn. More processes help; more threads and fibers do not."]
        when :lock
          ["It waits for a lock or a Queue of its own: #{second(:lock)} of each busy second. Find out who holds it."]
        when :child then ["It waits for a child process: #{second(:child)} of each busy second. Look at that program."]
        when :socket, :file, :pipe then [outside]
        when :system then ["It is busy with system calls: #{second(:system)} of each busy second."]
        else [untold]
        end
      end

      def untold
        return "It waits for something that could not be told: #{second(:other)} of each busy second." if
          @recording[:processes].all? { |process| process[:visible] }

        "It waits for #{second(:other)} of each busy second, and the kernel did not say for what: that can be seen " \
          "by root, and by whoever starts the program by uring_io profile."
      end

      def outside
        row = @shares.largest(kind)
        words = "It is #{@shares.label(row)} for #{seconds(share(row.seconds))} of each busy second"
        words << ", #{seconds(share(row.serial))} of that while the process does nothing else" if row.serial.positive?
        [words, advice(row)].compact.join(". ").delete_suffix(".").concat(".")
      end

      def advice(row)
        case row.peer
        when /\A(postgresql|mysql|mongodb)/ then "Look at the queries first: how many, and how long each takes (N+1?)."
        when /\A(redis|memcached)/ then "Look first at how many calls there are that one could do (MGET, pipelining)."
        when /\A(http|https)/ then "Requests that do not need each other's answers can be made at the same time."
        else "Waits that do not need each other can overlap" unless overlapped?
        end
      end

      def io_uring
        at_most = "io_uring: #{seconds(io_uring_at_most)} of each busy second is time in the kernel, so it can save " \
                  "#{percent(io_uring_at_most)} at most"
        "#{at_most}; #{percent(io_uring_likely)} is likely (#{batched_calls} reads and writes, " \
          "#{(@recording[:call_cost] * 1e9).round} ns for a call)."
      end

      def overlap
        return "Overlapping waits: none of the waits for sockets, files and children were made one after the other." if
          @shares.serial.zero?
        return overlapped if overlapped?

        "Overlapping waits (a fiber scheduler, or threads): #{seconds(overlap_at_most)} of each busy second is one " \
          "wait after another, so they can save #{percent(overlap_at_most)} at most, if no wait needs the answer of " \
          "another."
      end

      # Whether fibers already wait at the same time: more than 1.5 of them on average.
      def overlapped? = @overlapping > 1.5

      def overlapped
        "Overlapping waits: its fibers overlap them already, #{format('%.1f', @overlapping)} at the same time. For " \
          "#{seconds(overlap_at_most)} of each busy second all of them wait, so doing more at once can " \
          "save #{percent(overlap_at_most)} at most."
      end

      def second(*kinds) = seconds(share(@shares.of(*kinds)))

      def seconds(number) = format("%.2f s", number)

      def percent(share) = share < 0.005 ? "less than 1 %" : "#{(share * 100).round} %"
    end
  end
end
