# frozen_string_literal: true

require "json"
require "tempfile"
require_relative "system_calls"

module Bench
  # One run of a program on a target, in a process group of its own. The group has ended when +run+ returns.
  class Measurement
    # The program's figures, or a note that says why there are none. +failed+ means that the run should have worked.
    Outcome = Data.define(:figures, :note, :failed)

    # The line of an output that names the fault: the first exception. Later ones may be mere consequences.
    def self.reason(output)
      lines = output.lines(chomp: true).reject(&:empty?)
      said = lines.find { |line| line.match?(/\([A-Z][\w:]*\)|panicked|\[BUG\]/) } || lines.last
      said ||= "ended before it had measured, without a word"
      said.sub(%r{\A\S*/}, "")[0, 160]
    end

    # @param command [Array] environment and arguments
    # @param limit [Float] seconds after which the program counts as hung
    # @param counting [Float, nil] for how many seconds to count system calls after the measurement
    # @param turn [Integer, nil] how many operations come together
    def initialize(command, limit, counting: nil, turn: nil)
      @command = command
      @limit = limit
      @counting = counting
      @turn = turn
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

    # The line that the program prints; nil after the limit, and an empty text when the program ended without one.
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
      return failure("failed: #{last_words}") if line.empty?

      figures = JSON.parse(line, symbolize_names: true)
      return Outcome.new(nil, figures[:missing], false) if figures[:missing]

      figures[:syscalls_per_op], note = system_calls(pid) if @counting
      return failure("failed after it had measured: #{last_words}") if @counting && ended?(pid)

      Outcome.new(figures, note, false)
    rescue JSON::ParserError
      failure("said #{line[0, 60].inspect}")
    end

    def system_calls(pid)
      SystemCalls.new(pid, @counter.path).per_operation(@counting, least: [@turn.to_i, SystemCalls::FEWEST].max)
    end

    # Whether the program has ended. After a count that is a failure: such a program goes on until we kill it.
    def ended?(pid) = File.read("/proc/#{pid}/stat")[/\) (\w)/, 1] == "Z"

    def failure(note) = Outcome.new(nil, note, true)

    def last_words = Measurement.reason(File.read(@errors.path))

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
