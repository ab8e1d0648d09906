# frozen_string_literal: true

require "json"
require "socket"
require_relative "targets"

# The interface for the programs in workloads/. With it the same source runs on every target:
#
#   Bench.program do |b|
#     b.spawn { loop { b.op { one operation } } }
#   end
#
# The runner starts a program as `ruby workloads/NAME.rb TARGET SECONDS [CONNECTIONS]`. The program warms up, measures,
# and writes a line of JSON. With BENCH_COUNTER in the environment it then goes on until the runner kills it, and keeps
# the number of its operations in that file. Meanwhile the runner counts its system calls.
module Bench
  # See above.
  class Program
    # We time one operation in 16.
    SAMPLING = 16
    SAMPLES = 1 << 16

    # How many connections the program should make.
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

    # Starts a thread, or a fiber, or a task. Those that the program's block starts wait until the block has ended:
    # otherwise a fiber that never waits would keep the others from starting.
    def spawn(&block)
      @target.spawns_threads? ? Thread.new { guard(block) } : Fiber.schedule { guard(block) }
    end

    # The block returns more figures besides the common ones. It runs when the program has warmed up.
    def extra(&block)
      @extra = block
    end

    # Makes and counts one operation, which is the block.
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

    # Writes the number of operations to a file as well, after each operation.
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

    # A thread without a scheduler does the measuring. It gets its turn even when fibers never wait, and adds no timer
    # to those of the program.
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
      # Start counting before the figures are out, because their reader looks at the counter next.
      count(counting) if counting
      Bench.say(figures)
      sleep if counting
      exit!(0) # nobody needs the rest to end well
    end

    # Runs a part of the program. If the part fails, the whole program does.
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

    # Ends the program, because something that it needs is missing.
    def missing(what)
      say(missing: what)
      exit!(0)
    end

    # Writes in a blocking fiber, so that the scheduler has no part in it.
    def say(figures)
      Fiber.blocking { $stdout.syswrite("#{JSON.generate(figures)}\n") }
    end

    # A figure of /proc/self/status, in KB.
    def memory(name) = File.read("/proc/self/status")[/^#{name}:\s+(\d+)/, 1].to_i

    def executable?(name) = ENV.fetch("PATH", "").split(":").any? { |path| File.executable?(File.join(path, name)) }

    # Runs the block in another process that ends with this one. Call it before the program runs.
    # @yieldparam output [IO] the other end of the returned IO
    # @return [IO] for reading
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

    # Makes connected pairs of TCP sockets. All of them exist before the program uses any, because making and using
    # pairs would otherwise take turns.
    def tcp_pairs(number)
      TCPServer.open("127.0.0.1", 0) do |server|
        Array.new(number) { [server.local_address.connect, server.accept] }
      end
    end
  end
end
