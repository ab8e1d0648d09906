# frozen_string_literal: true

require "rbconfig"
require "tempfile"
require_relative "watchdog"

# A Ruby script in a process of its own, with a time limit.
class ChildProgram
  LIMIT = 15
  LIB = File.expand_path("../../lib", __dir__)

  Result = Struct.new(:stdout, :stderr, :status)

  # Runs the script to its end.
  def self.run(script, *, **)
    program = new(script, *, **)
    yield program if block_given?
    program.finish
  ensure
    program&.stop
  end

  attr_reader :pid

  # @param command [Array<String>] what Ruby is run by
  def initialize(script, *arguments, env: {}, limit: LIMIT, command: [])
    @deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + Watchdog.patience(limit)
    @stderr = Tempfile.new("uring_io-spec-stderr")
    @script = Tempfile.new(["uring_io-spec", ".rb"])
    @script.write("require \"uring_io\"\n$stdout.sync = true\n", script)
    @script.close
    @stdout, writer = IO.pipe
    # A signal handler that the runner set would be inherited as "ignored" only: the child starts afresh.
    @pid = Process.spawn(env, *command, RbConfig.ruby, "-W1", "-I", LIB, @script.path, *arguments.map(&:to_s),
                         in: File::NULL, out: writer, err: @stderr.path, pgroup: true)
    writer.close
    @read = +""
  end

  # The next line of standard output; fails when none comes in time.
  def gets
    until @read.include?("\n")
      chunk = read_some or raise "the program ended without another line\n#{finish}"
      @read << chunk
    end
    @read.slice!(/\A.*\n/)
  end

  def signal(name)
    Process.kill(name, @pid)
  end

  # Waits for the end; kills the program when its time is over.
  def finish
    output = @read
    while (chunk = read_some)
      output << chunk
    end
    wait
    Result.new(output, File.read(@stderr.path), @status)
  end

  # Ends the program and removes its files. Repeatable.
  def stop
    kill_group
    # Time for what was killed to go, also when there is none left.
    @deadline = [@deadline, Process.clock_gettime(Process::CLOCK_MONOTONIC) + Watchdog.patience(5)].max
    wait
    @stdout.close
    @stderr.close!
    @script.close!
  end

  private

  def read_some
    remaining = @deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC)
    unless remaining.positive? && @stdout.wait_readable(remaining)
      kill_group
      raise "the program took too long; it wrote #{@read.inspect} and #{File.read(@stderr.path)}"
    end
    @stdout.readpartial(65_536)
  rescue EOFError
    nil
  end

  # The program and what it started.
  def kill_group
    Process.kill(:KILL, -@pid)
  rescue Errno::ESRCH
    nil
  end

  # Standard output may end before the program does.
  def wait
    return if @status

    waiter = Process.detach(@pid)
    remaining = @deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC)
    unless waiter.join([remaining, 0].max)
      kill_group
      waiter.join
      @status = waiter.value
      raise "the program did not end; it wrote #{File.read(@stderr.path)}"
    end
    @status = waiter.value
  end
end

# Children for one example.
module ChildPrograms
  # Runs a script to its end: stdout, stderr and status.
  def child(script, *, **, &)
    ChildProgram.run(script, *, **, &)
  end
end

RSpec.configure { |config| config.include ChildPrograms }
