# frozen_string_literal: true

require "json"
require "tempfile"
require_relative "system_calls"

module Bench
  # One run of a program on a target, in a process group of its own that has ended when this is over.
  class Measurement
    # The program's figures, or why there are none. What +failed+ should have worked.
    Outcome = Data.define(:figures, :note, :failed)

    # @param command [Array] environment and arguments
    # @param limit [Float] seconds after which it hangs
    # @param counting [Float, nil] for how many seconds system calls are counted after it has measured
    def initialize(command, limit, counting: nil)
      @command = command
      @limit = limit
      @counting = counting
    end

    def run
      Tempfile.create("uring_io-bench") do |errors|
        Tempfile.create("uring_io-bench") do |counter|
          counter.truncate(8)
          @errors = errors
          @counter = counter
          start
        end
      end
    end

    private

    def start
      env, *arguments = @command
      env = env.merge("BENCH_COUNTER" => @counter.path) if @counting
      output, writer = IO.pipe
      pid = Process.spawn(env, *arguments, in: File::NULL, out: writer, err: @errors.path, pgroup: true)
      writer.close
      outcome(pid, line(output))
    ensure
      stop(pid) if pid
      output&.close
    end

    # What it says within its time; nil when that has passed, and an empty text when it has ended without a word.
    def line(output)
      deadline = now + @limit
      said = +""
      until said.end_with?("\n")
        return unless output.wait_readable([deadline - now, 0].max)

        piece = output.read_nonblock(65_536, exception: false)
        return said if piece.nil?

        said << piece unless piece == :wait_readable
      end
      said
    end

    def outcome(pid, line)
      return failure("hung: ended after #{@limit.round} s") if line.nil?
      return failure("failed: #{last_error}") if line.empty?

      figures = JSON.parse(line, symbolize_names: true)
      return Outcome.new(nil, figures[:missing], false) if figures[:missing]

      figures[:syscalls_per_op], note = system_calls(pid) if @counting
      Outcome.new(figures, note, false)
    rescue JSON::ParserError
      failure("said #{line[0, 60].inspect}")
    end

    def system_calls(pid) = SystemCalls.new(pid, @counter.path).per_operation(@counting)

    def failure(note) = Outcome.new(nil, note, true)

    # The line that says what was wrong comes first; where it is a warning, it is the last one that counts.
    def last_error
      lines = File.readlines(@errors.path, chomp: true).reject(&:empty?)
      said = lines.reverse.find { |line| line.match?(/\((?:[A-Z]\w*(?:::)?)+\)|panicked/) } || lines.last
      (said || "without a word")[0, 160]
    end

    def stop(pid)
      Process.kill(:KILL, -pid)
    rescue Errno::ESRCH
      nil
    ensure
      Process.wait(pid)
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
