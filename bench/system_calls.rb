# frozen_string_literal: true

require "tempfile"

module Bench
  # Counts the system calls of a running program by strace, and the operations that the program makes meanwhile.
  class SystemCalls
    # Seconds in which strace must attach to all threads.
    ATTACH_SECONDS = 15
    # Seconds that we add when operations come slowly: thousands of connections take their turns together.
    PATIENCE_SECONDS = 4
    # Fewer operations than this are not enough: strace also counts calls of a turn whose operations come later.
    FEWEST = 20

    def self.missing
      return if ENV.fetch("PATH", "").split(":").any? { |folder| File.executable?(File.join(folder, "strace")) }

      "strace is not installed: system calls are not counted"
    end

    # @param counter [String] the path of the file in which the program keeps the number of its operations
    def initialize(pid, counter)
      @pid = pid
      @counter = counter
    end

    # @param least [Integer] how many operations to wait for, within PATIENCE_SECONDS
    # @return [(Float, nil), (nil, String)] the number of calls for each operation, or why we do not know it
    def per_operation(seconds, least: FEWEST)
      return [nil, nil] if SystemCalls.missing # the table says this once, and not in each row

      Tempfile.create("uring_io-bench") do |summary|
        operations = trace(summary.path, seconds, least) or return [nil, "strace did not attach"]
        calls = File.read(summary.path)[/^\s*(\d+)\s+total$/, 1] || "0"
        return [nil, "#{operations} operations while system calls were counted"] if operations < [FEWEST, least].max / 2

        [calls.to_f / operations, nil]
      end
    end

    private

    def trace(summary, seconds, least)
      IO.pipe do |input, output|
        tracer = Process.spawn("strace", "-f", "-c", "-U", "calls,name", "-o", summary, "-p", @pid.to_s, err: output)
        output.close
        next unless input.wait_readable(ATTACH_SECONDS) && input.readpartial(4096).include?("attached")

        # strace may print more, and must not block at a full pipe.
        reading = Thread.new { input.read }
        count(seconds, least)
      rescue EOFError
        nil
      ensure
        stop(tracer)
        reading&.join
      end
    end

    # Returns how many operations the program makes within these seconds, and within PATIENCE_SECONDS more while they
    # are too few.
    def count(seconds, least)
      before = operations
      sleep(seconds)
      (PATIENCE_SECONDS * 10).times { operations - before < least && sleep(0.1) }
      operations - before
    end

    # SIGINT makes strace write its summary.
    def stop(tracer)
      Process.kill(:INT, tracer)
      Process.wait(tracer)
    end

    def operations = File.binread(@counter, 8).unpack1("Q<")
  end
end
