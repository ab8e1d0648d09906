# frozen_string_literal: true

module UringIO
  class Profile
    # One thread of a process, seen from outside: how long it was on a processor, and what it does now. We keep its
    # files of /proc open, because opening them costs more than a look.
    class Task
      # A sample of a thread. +call+ is the number of the system call in which the thread sleeps; nil when it runs, or
      # when we may not read the number. +arguments+ are those of the call.
      Look = Data.define(:running, :call, :arguments)

      RUNNING = Look.new(true, nil, nil)
      UNSEEN = Look.new(false, nil, nil)
      # Bytes to read: these files have one line each, which is shorter.
      LINE = 512
      private_constant :RUNNING, :UNSEEN, :LINE

      attr_reader :id, :name, :look

      # Seconds on a processor and waiting for one, since the last {#step}.
      attr_reader :ran, :delayed

      # Seconds before the last {#step} that we counted as sleep, although the thread waited for a processor.
      attr_reader :late

      # @raise [SystemCallError] when the thread is gone
      def initialize(pid, id)
        @id = id
        folder = "/proc/#{pid}/task/#{id}"
        @name = File.read("#{folder}/comm").chomp.scrub
        @files = { schedule: File.open("#{folder}/schedstat") }
        @files[:call] = open_call(folder)
        @cpu, @delay, @times = schedule
        @ran = @delayed = @late = @ahead = @guessed = 0.0
        @look = UNSEEN
      rescue SystemCallError
        close
        raise
      end

      # Looks at the thread, +length+ seconds after the last look. False when the thread is gone.
      def step(length)
        cpu, delay, times = schedule
        # A short run may leave +cpu+ as it is, because the kernel subtracts the time that a hypervisor took. It always
        # raises +times+.
        moved = cpu != @cpu || times != @times
        @ran = [(cpu - @cpu) / 1e9, length].min
        take_delay((delay - @delay) / 1e9, length - @ran)
        @cpu = cpu
        @delay = delay
        @times = times
        # A thread that has not run since we saw it asleep is still in the same call.
        @look = current if moved || @look.call.nil?
        wait_for_processor(length) if @look.running && !moved
        @guessed = @look.running ? @guessed + length - @ran - @delayed : 0.0
        true
      rescue SystemCallError, EOFError
        @ran = @delayed = @late = 0.0
        false
      end

      # Whether the kernel lets us see which system call the thread is in.
      def visible? = !@files[:call].nil?

      def close
        @files&.each_value { |file| file&.close }
      end

      private

      # The kernel adds a wait for a processor to its sum when the wait is over. So we subtract the part of it that we
      # have already counted.
      def take_delay(counted, most)
        counted, @ahead = [counted - @ahead, 0.0].max, [@ahead - counted, 0.0].max
        @delayed = [counted, most].min
        @late = [counted - @delayed, @guessed].min
        @guessed -= @late
      end

      def wait_for_processor(length)
        more = length - @ran - @delayed
        @delayed += more
        @ahead += more
      end

      def open_call(folder)
        File.open("#{folder}/syscall").tap { |file| file.pread(LINE, 0) }
      rescue Errno::EACCES, Errno::EPERM, Errno::ENOENT, Errno::EINVAL
        nil
      end

      # Nanoseconds on a processor, nanoseconds waiting for one, and how often it came to run.
      def schedule = @files[:schedule].pread(LINE, 0).split.map(&:to_i)

      def current
        return @ran.positive? ? RUNNING : UNSEEN unless @files[:call]

        number, *words = @files[:call].pread(LINE, 0).split
        return RUNNING if number == "running"

        # A thread that sleeps outside of a system call waits for memory, or is stopped.
        number.to_i.negative? ? UNSEEN : Look.new(false, number.to_i, words.first(5).map(&:hex))
      rescue SystemCallError
        UNSEEN
      end
    end
  end
end
