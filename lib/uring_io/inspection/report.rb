# frozen_string_literal: true

module UringIO
  module Inspection
    # An answer as text for a terminal.
    class Report
      # The most frames that the report prints of a backtrace.
      FRAMES = 12
      # Of a longer backtrace the report prints at least this many of the topmost frames.
      TOP = 5
      # A frame of Ruby's own library, or of a gem.
      LIBRARY = %r{\A<internal:|/gems/[^/]+-\d|/ruby/\d+\.\d+\.\d+/|/(?:vendor|site)_ruby/|/lib/uring_io/}
      UNSEEN = <<~TEXT
        Not to be seen: what native code waits for that does not ask a scheduler, and fibers that have not begun. A fiber
        that Async itself keeps (sleep, Condition, Semaphore) is among the others.
      TEXT
      private_constant :FRAMES, :TOP, :LIBRARY, :UNSEEN

      # @param answer [Hash] of Snapshot
      def initialize(answer)
        @answer = answer
      end

      # @return [String]
      def to_s
        [head, *late, *threads, *@answer[:loops].map { |found| loop_of(found) }, *others, UNSEEN].join("\n")
      end

      private

      def head
        pid, program, ruby, version = @answer.values_at(:pid, :program, :ruby, :uring_io)
        "Process #{pid}: #{line(program)} (Ruby #{ruby}, uring_io #{version})\n"
      end

      def late
        return unless @answer[:late]

        ["It answered after #{@answer[:late].round(1)} s. Until then native code kept Ruby's lock (the GVL), or the " \
         "process was stopped.\nThe lines below show it as it was afterwards.\n"]
      end

      def threads
        @answer[:threads].map do |thread|
          "Thread #{line(thread[:name])}: #{thread[:status]}\n#{frames(thread[:backtrace])}"
        end
      end

      def loop_of(found)
        waits = found[:waits]
        title = "#{found[:name]} on #{found[:backend]}: #{count(waits, 'fiber waits', 'fibers wait')}\n"
        title + alike(waits).map { |same| group(same) }.join
      end

      # Groups waits at the same place, because a server has thousands of them.
      def alike(waits)
        waits.group_by { |wait| wait.values_at(:ready, :hook, :calls, :backtrace) }.values
      end

      def group(same)
        more = same.drop(1).map { |wait| "  #{line(wait[:text])}\n" }
        hidden = more.size - FRAMES
        more = [*more.first(FRAMES), "  and #{hidden} more like these\n"] if hidden.positive?
        "  #{line(same.first[:text])}\n#{more.join}#{frames(same.first[:backtrace])}"
      end

      def others
        found = @answer[:others]
        return [] if found.empty?

        groups = found.group_by { |fiber| fiber[:backtrace] }.map do |backtrace, same|
          names = same.first(FRAMES).map { |fiber| fiber[:fiber] }
          names << "#{same.size - FRAMES} more" if same.size > FRAMES
          "  #{names.join(', ')}\n#{frames(backtrace)}"
        end
        ["#{count(found, 'fiber is', 'fibers are')} suspended by something else than uring_io\n#{groups.join}"]
      end

      def count(list, one, several) = "#{list.size} #{list.size == 1 ? one : several}"

      # The frames to print. Of a long backtrace these are the topmost ones, and those of the program itself.
      def frames(backtrace)
        return backtrace.map { |frame| "    #{line(frame)}\n" }.join if backtrace.size <= FRAMES

        chosen = backtrace.each_index.select { |index| index < TOP || !LIBRARY.match?(backtrace[index]) }.first(FRAMES)
        gaps = [*chosen, backtrace.size].each_cons(2).map { |index, following| following - index - 1 }
        chosen.zip(gaps).map do |index, hidden|
          "    #{line(backtrace[index])}\n#{"    ... #{hidden} more\n" if hidden.positive?}"
        end.join
      end

      # A line without control characters, which a terminal would obey.
      def line(text) = text.gsub(/[[:cntrl:]]/, "?")
    end
  end
end
