# frozen_string_literal: true

require "json"
require "socket"
require "timeout"
require "uring_io"

# The frame of every case of bin/soak: the case works for a time, counts, and notes violations.
#
#   ruby -Ilib soak/cases/NAME.rb BACKEND SECONDS SEED [LIMIT]
#
# prints one line of JSON: operations, faults injected, violations. With LIMIT (seconds) it works on until it has
# reached its goals, too, and says on the standard error how far it is.
class Case
  # Enough to see what is wrong.
  VIOLATIONS_MAX = 20
  PROGRESS_SECONDS = 60

  # @param goals [Hash] what it must have counted in the long form, by name: operations, faults, and what #count names
  def self.run(**goals, &)
    backend, seconds, seed, limit = ARGV
    new(backend.to_sym, Float(seconds), Integer(seed), limit && Float(limit), goals).run(&)
  end

  attr_reader :backend, :seconds, :random

  def initialize(backend, seconds, seed, limit, goals)
    @backend = backend
    @seconds = seconds
    @random = Random.new(seed)
    @full = !limit.nil?
    @goals = @full ? goals : {}
    @counts = Hash.new(0)
    @violations = []
    @lock = Mutex.new
    @start = now
    @end = now + seconds
    @limit = now + (limit || seconds)
    @errors = $stderr.dup # a case may have another use for it
  end

  def run(&)
    give_up_in_time
    show_progress if full?
    instance_exec(&)
    @goals.each { |name, goal| expect(@counts[name] >= goal, "#{@counts[name]} of #{goal} #{name} were reached") }
    progress if full?
    report
  end

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  # Whether this is the long form.
  def full? = @full

  # Whether there is time for more, or need of it.
  def more?
    return false if @violations.size >= VIOLATIONS_MAX

    time = now
    time < @end || (time < @limit && !reached?)
  end

  def done(number = 1) = count(:operations, number)

  def fault(number = 1) = count(:faults, number)

  def count(name, number = 1) = @counts[name] += number

  def operations = @counts[:operations]

  def faults = @counts[:faults]

  # How many of these the long form wants; 0 in the short one.
  def goal(name) = @goals.fetch(name, 0)

  # Notes what must not happen, and tells it at once in a long run. Any thread.
  def violation(text)
    @lock.synchronize { @violations << text if @violations.size < VIOLATIONS_MAX }
    say("violation: #{text}") if full?
  end

  def expect(true_or_false, text)
    violation(text) unless true_or_false
  end

  # Runs the block under a scheduler of this case's backend, in a thread of its own.
  def scheduled(**, &)
    Thread.new { UringIO.run(backend:, **, &) }.value
  end

  # Descriptors of this process, except the one that lists them.
  def descriptors = Dir.children("/proc/self/fd").size - 1

  # KiB of memory that are resident.
  def resident = File.read("/proc/self/status")[/^VmRSS:\s+(\d+)/, 1].to_i

  # Tells it on the standard error.
  def say(text) = @errors.syswrite("#{File.basename($PROGRAM_NAME, '.rb')} on #{backend}: #{text}\n")

  private

  def reached? = @goals.all? { |name, goal| @counts[name] >= goal }

  def progress
    counts = @counts.map { |name, count| "#{count}#{" of #{@goals[name]}" if @goals[name]} #{name}" }
    say("#{(now - @start).round} s, #{counts.join(', ')}, #{@violations.size} violations")
  end

  def show_progress
    Thread.new { loop { sleep(PROGRESS_SECONDS) && progress } }
  end

  def report = puts(JSON.generate(operations:, faults:, violations: @violations))

  # Tells where it hangs, before the runner kills it.
  def give_up_in_time
    Thread.new do
      sleep(@limit - now + 40)
      places = (Thread.list - [Thread.current]).map { |thread| thread.backtrace.to_a.first(5).join(" < ") }
      violation("it does not end: #{places.join('; ')}")
      report
      $stdout.flush
      exit!(1)
    end
  end
end
