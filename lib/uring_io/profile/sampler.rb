# frozen_string_literal: true

require_relative "account"
require_relative "task"
require_relative "waits"

module UringIO
  class Profile
    # Looks at a process, its threads and its children from outside, at a steady rate.
    class Sampler
      # Seconds between two searches for new threads and children, at least: reading folders of /proc costs more than
      # looking at a thread.
      SEARCH = 0.02
      private_constant :SEARCH

      GVL = Wait.new(:gvl)
      # Seconds for which a thread keeps the GVL while others want it, with a margin.
      TURN = 0.12
      private_constant :GVL, :TURN

      # A process that the sampler follows.
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

        # Looks at every thread. False when no thread is left, or the process has ended and nobody has asked for its
        # status. A thread that has gone counts as asleep in its last wait since the last look. That may be long on a
        # busy machine.
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
          # The thread has ended since we read the folder.
        end

        def children(id)
          File.read("/proc/#{@pid}/task/#{id}/children").split.map(&:to_i)
        rescue SystemCallError
          []
        end

        # Reads the kernel's counters of this process: its time in user mode and in the kernel, and its read and write
        # calls.
        def count
          fields = File.read("/proc/#{@pid}/stat").rpartition(")").last.split
          @account.user, @account.system = fields.values_at(11, 12).map(&:to_i)
          @zombie = fields.first == "Z" && @tasks.size == 1
          counted = File.read("/proc/#{@pid}/io").scan(/^sysc[rw]: (\d+)/).sum { |number, _| number.to_i }
          @calls_before ||= counted
          @account.calls = counted - @calls_before
        rescue SystemCallError
          # The process belongs to another user, or is ending.
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

        # We assume that a running thread waited for the same thing as before, where it waited between two looks.
        def wait_of(task)
          look = task.look
          return @last[task.id] || Waits::OTHER unless look.call

          known = @last[task.id]
          return known if @last_look[task.id].equal?(look) && known != Waits::UNCONNECTED

          @last_look[task.id] = look
          @last[task.id] = @waits.of(look.call, look.arguments)
        end

        # While Ruby's timer gives time slices, a wait in futex(2) without a limit may be one for the GVL. It counts as
        # one if the thread has slept no longer than a turn of the running thread and of each thread that slept less.
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
      # @raise [SystemCallError] when there is no such process, or this one may not look at it
      def initialize(pid, rate:)
        @interval = 1.0 / rate
        @followed = { pid => Followed.new(pid) }
        @ended = []
        @started = @last = @searched = clock
      end

      # @return [Float] by CLOCK_MONOTONIC
      attr_reader :started

      # Looks until no process is left, or until the block returns true. It calls the block after each look.
      def run
        due = @started
        until @followed.empty?
          now = clock
          due = [due + @interval, now].max
          sleep(due - now)
          # Look before the block runs: the block may reap the process, and then nothing of it is left to see.
          step
          ended = yield(clock - @started)
          step if ended
          break if ended
        end
      end

      # @return [Array<Account>] of all processes that the sampler saw, by pid
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
          # The child has already ended.
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
