# frozen_string_literal: true

require_relative "account"
require_relative "task"
require_relative "waits"

module UringIO
  class Profile
    # Looks at a process, its threads and its children so many times a second, from outside.
    class Sampler
      # The sampler looks for new threads and children at most that often, in seconds: reading folders of /proc costs
      # more than looking at a thread.
      SEARCH = 0.02
      private_constant :SEARCH

      GVL = Wait.new(:gvl)
      # Seconds that a thread has the GVL for while others want it, and some more.
      TURN = 0.12
      private_constant :GVL, :TURN

      # A process that is followed.
      class Followed
        attr_reader :account

        def initialize(pid)
          @pid = pid
          @waits = Waits.new(pid)
          @tasks = {}
          @asleep_since = {}
          @last = {}
          @last_look = {}
          @account = Account.new(pid, name)
          search
        end

        # @return [Array<Integer>] pids of the children; nil when the process is gone
        def search
          ids = Dir.children("/proc/#{@pid}/task").map(&:to_i)
          (ids - @tasks.keys).each { |id| follow(id) }
          count
          ids.flat_map { |id| children(id) }
        rescue SystemCallError
          nil
        end

        # Looks at every thread. False when none is left, or the process has ended and nobody has asked for its status.
        # A thread that is gone did until its end mostly what it did before; on a busy machine that can be long ago.
        def step(now, length, at)
          return false if @zombie

          gone = @tasks.reject { |_, task| task.step(length) }
          @account.add(at, length, refined(@tasks.each_value.map { |task| tick(task, now, length) }))
          gone.each { |id, task| @tasks.delete(id) && task.close }
          @tasks.any?
        end

        def close
          @tasks.each_value(&:close)
          @waits.close
        end

        private

        def name
          words = File.binread("/proc/#{@pid}/cmdline").split("\0")
          words = [File.read("/proc/#{@pid}/comm").chomp] if words.empty?
          words.join(" ").force_encoding(Encoding::UTF_8).scrub
        end

        def follow(id)
          task = @tasks[id] = Task.new(@pid, id)
          @account.visible &&= task.visible?
        rescue SystemCallError
          # It has ended since the folder was read.
        end

        def children(id)
          File.read("/proc/#{@pid}/task/#{id}/children").split.map(&:to_i)
        rescue SystemCallError
          []
        end

        # The kernel's counters of this process: read and write calls, and waits.
        def count
          fields = File.read("/proc/#{@pid}/stat").rpartition(")").last.split
          @account.user, @account.system = fields.values_at(11, 12).map(&:to_i)
          @zombie = fields.first == "Z" && @tasks.size == 1
          counted = File.read("/proc/#{@pid}/io").scan(/^sysc[rw]: (\d+)/).sum { |number, _| number.to_i }
          @calls_before ||= counted
          @account.calls = counted - @calls_before
        rescue SystemCallError
          # Another user's, or it ends.
        end

        def tick(task, now, length)
          look = task.look
          since = look.call ? @asleep_since[task.id] : nil
          @asleep_since[task.id] = since = now if since.nil? || task.ran.positive?
          was = @last[task.id] || Waits::OTHER
          wait = wait_of(task)
          Account::Tick.new(task.id, task.name, task.ran, task.delayed,
                            [length - task.ran - task.delayed, 0.0].max, wait, now - since, task.late, was)
        end

        # Between two looks a running thread has mostly waited for the same as before.
        def wait_of(task)
          look = task.look
          return @last[task.id] || Waits::OTHER unless look.call

          known = @last[task.id]
          return known if @last_look[task.id].equal?(look) && known != Waits::UNCONNECTED

          @last_look[task.id] = look
          @last[task.id] = @waits.of(look.call, look.arguments)
        end

        # A wait without a limit in futex(2) is one for the GVL while Ruby's timer gives time slices, if the thread had
        # its last turn not longer ago than those before it take for theirs.
        def refined(ticks)
          return ticks unless ticks.any? { |tick| tick.wait == Waits::TURNS }

          waiting = ticks.select { |tick| tick.wait == Waits::LOCK }.sort_by(&:asleep_for)
          takes_turns = waiting.each.with_index(1).take_while { |tick, place| tick.asleep_for <= TURN * place }
          takes_turns = takes_turns.map { |tick, _| tick.id }
          ticks.map { |tick| takes_turns.include?(tick.id) ? tick.with(wait: GVL) : tick }
        end
      end
      private_constant :Followed

      # @param pid [Integer]
      # @param rate [Integer] looks a second
      # @raise [SystemCallError] when there is no such process, or it may not be looked at
      def initialize(pid, rate:)
        @interval = 1.0 / rate
        @followed = { pid => Followed.new(pid) }
        @ended = []
        @started = @last = @searched = clock
      end

      # @return [Float] by CLOCK_MONOTONIC
      attr_reader :started

      # Looks until the block, which is called after each look, says true or no process is left.
      def run
        due = @started
        until @followed.empty?
          now = clock
          due = [due + @interval, now].max
          sleep(due - now)
          # First this: whoever asks for the status of a process ends what can be seen of it.
          step
          ended = yield(clock - @started)
          step if ended
          break if ended
        end
      end

      # @return [Array<Account>] of all processes that were seen, in the order in which they were
      def accounts = (@ended + @followed.values).map(&:account).sort_by(&:pid)

      # @return [Float]
      def seconds = @last - @started

      def close = @followed.each_value(&:close)

      private

      def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)

      def step
        now = clock
        length = now - @last
        @last = now
        @followed.to_a.each { |pid, process| finish(pid, process) unless process.step(now, length, now - @started) }
        search if now - @searched >= SEARCH
      end

      def search
        @searched = @last
        children = @followed.values.flat_map { |process| process.search || [] }
        known = @followed.keys + @ended.map { |process| process.account.pid } + [Process.pid]
        (children - known).each do |pid|
          @followed[pid] = Followed.new(pid)
        rescue SystemCallError
          # A child that ended at once.
        end
      end

      def finish(pid, process)
        @followed.delete(pid)
        process.close
        @ended << process
      end
    end
  end
end
