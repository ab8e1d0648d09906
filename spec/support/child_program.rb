# frozen_string_literal: true

require "rbconfig"
require "tempfile"
require_relative "watchdog"

# Runs a Ruby script in a process of its own, with a time limit.
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

  # @param command [Array<String>] a command that runs Ruby, such as strace
  def initialize(script, *arguments, env: {}, limit: LIMIT, command: [])
    @deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + Watchdog.patience(limit)
    @stderr = Tempfile.new("uring_io-spec-stderr")
    @script = Tempfile.new(["uring_io-spec", ".rb"])
    @script.write("require \"uring_io\"\n$stdout.sync = true\n", script)
    @script.close
    @stdout, writer = IO.pipe
    # The child starts afresh: exec(2) resets the runner's signal handlers, and only ignored signals stay ignored.
    @pid = Process.spawn(env, *command, RbConfig.ruby, "-W1", "-I", LIB, @script.path, *arguments.map(&:to_s),
                         in: File::NULL, out: writer, err: @stderr.path, pgroup: true)
    writer.close
    @read = +""
  end

  # The next line of standard output. Fails when none comes in time.
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

  # Waits for the program's end. Kills it when its time is over.
  def finish
    output = @read
    while (chunk = read_some)
      output << chunk
    end
    wait
    Result.new(output, File.read(@stderr.path), @status)
  end

  # Ends the program and removes its files. May be called again.
  def stop
    kill_group
    # Leaves the killed processes some time to end, even when the deadline has passed.
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

  # Kills the program and the processes that it has started.
  def kill_group
    Process.kill(:KILL, -@pid)
  rescue Errno::ESRCH
    nil
  end

  # A program may close its standard output before it ends.
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
  # Runs a script to its end. Returns its stdout, stderr and status.
  def child(script, *, **, &)
    ChildProgram.run(script, *, **, &)
  end
end

RSpec.configure { |config| config.include ChildPrograms }
