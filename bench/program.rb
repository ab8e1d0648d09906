# frozen_string_literal: true

require "json"
require "socket"
require_relative "targets"

# What the programs in workloads/ are written against, so that the same source runs on every target:
#
#   Bench.program do |b|
#     b.spawn { loop { b.op { one operation } } }
#   end
#
# A program is started as `ruby workloads/NAME.rb TARGET SECONDS [CONNECTIONS]`. It warms up, measures, and writes a
# line of JSON. With BENCH_COUNTER in the environment it then goes on until it is killed, and keeps the number of its
# operations in that file, for whoever counts its system calls meanwhile.
module Bench
  # See above.
  class Program
    # One operation in 16 is timed.
    SAMPLING = 16
    SAMPLES = 1 << 16

    # How many connections there are to be.
    attr_reader :connections

    def initialize(target, seconds, connections)
      @target = target
      @seconds = seconds
      @connections = connections
      @begun = @operations = @sampled = 0
      @samples = Array.new(SAMPLES, 0)
      @extra = -> { {} }
    end

    def run(&block)
      @target.enter { begin_with(block) }
    end

    # Starts a thread, or a fiber, or a task. Those that the program starts with go on when it is complete: a fiber that
    # never waits would keep it from starting others.
    def spawn(&block)
      @target.spawns_threads? ? Thread.new { guard(block) } : Fiber.schedule { guard(block) }
    end

    # The block makes figures besides the common ones, when the program has warmed up.
    def extra(&block)
      @extra = block
    end

    # The block is one operation.
    def op
      @begun += 1
      if (@begun % SAMPLING).zero?
        from = nanoseconds
        value = yield
        @samples[@sampled % SAMPLES] = nanoseconds - from
        @sampled += 1
      else
        value = yield
      end
      @operations += 1
      value
    end

    # Each operation is also told to a file.
    module Counted
      def counter=(buffer)
        @counter = buffer
        tell
      end

      def op
        value = super
        tell
        value
      end

      private

      def tell
        @counter&.set_value(:u64, 0, @operations)
      end
    end

    private

    # The measuring is a thread's that knows no scheduler: it must come to its turn even where fibers never wait, and
    # should be no timer among those of the program.
    def begin_with(block)
      gate = @gate = Queue.new
      block.call(self)
      @gate = nil
      watch = Thread.new { guard(method(:watch)) }
      gate.close
      watch.join if @target.spawns_threads?
    rescue StandardError => error
      Bench.fail(error)
    end

    def watch
      sleep(Bench.warm_up(connections))
      figures = measure
      counting = ENV.fetch("BENCH_COUNTER", nil)
      # The reader of the figures looks at the counter next.
      count(counting) if counting
      Bench.say(figures)
      sleep if counting
      exit!(0) # nobody needs the rest to end well
    end

    # A program of which a part has failed measures nothing.
    def guard(work)
      @gate&.pop
      work.call
    rescue StandardError => error
      Bench.fail(error)
    end

    def measure
      extra = @extra.call
      @sampled = 0
      before = [@operations, nanoseconds, processor]
      sleep(@seconds)
      operations, time, used = [@operations, nanoseconds, processor].zip(before).map { |late, early| late - early }
      raise "no operation came to its end" unless operations.positive?

      samples = @samples.first(@sampled.clamp(0, SAMPLES)).sort
      { operations:, seconds: time / 1e9, cpu: used, p50_us: percentile(samples, 50), p99_us: percentile(samples, 99),
        peak_kb: Bench.memory("VmHWM"), **extra }
    end

    def percentile(samples, percent)
      (samples[(samples.size - 1) * percent / 100] / 1e3).round(1) if samples.any?
    end

    def count(path)
      extend(Counted)
      self.counter = File.open(path, "r+") { |file| IO::Buffer.map(file, 8) }
    end

    def nanoseconds = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
    def processor = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
  end

  class << self
    def program(&)
      Process.setrlimit(:NOFILE, Process.getrlimit(:NOFILE).last)
      target, seconds, connections = ARGV
      Program.new(Targets.find(target), Float(seconds), connections.to_i).run(&)
    rescue StandardError => error
      fail(error)
    end

    def fail(error)
      Fiber.blocking { $stderr.syswrite(error.full_message(highlight: false)) }
      exit!(1)
    end

    # Ends the program where something it needs is not there.
    def missing(what)
      say(missing: what)
      exit!(0)
    end

    # Not by the scheduler, whose writing is none of the figures' business.
    def say(figures)
      Fiber.blocking { $stdout.syswrite("#{JSON.generate(figures)}\n") }
    end

    # A figure of /proc/self/status, in KB.
    def memory(name) = File.read("/proc/self/status")[/^#{name}:\s+(\d+)/, 1].to_i

    def executable?(name) = ENV.fetch("PATH", "").split(":").any? { |path| File.executable?(File.join(path, name)) }

    # Runs the block in another process that ends with this one. To be called before the program runs.
    # @yieldparam output [IO] what is written to it can be read from what is returned
    def peer
      input, output = IO.pipe
      alive, parent = IO.pipe
      fork do
        [input, parent].each(&:close)
        Thread.new { alive.read && exit!(0) }
        Process.setrlimit(:NOFILE, Process.getrlimit(:NOFILE).last)
        output.sync = true
        yield output
        exit!(0)
      end
      [output, alive].each(&:close)
      (@peers ||= []) << parent
      input
    end

    # Connected pairs of TCP sockets. All are made before any is used, as making them would take its turns with using.
    def tcp_pairs(number)
      TCPServer.open("127.0.0.1", 0) do |server|
        Array.new(number) { [server.local_address.connect, server.accept] }
      end
    end
  end
end
