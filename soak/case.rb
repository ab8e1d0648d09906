# frozen_string_literal: true

require "json"
require "socket"
require "timeout"
require "uring_io"

# What every case of bin/soak does: it works for a time, counts, and notes what must not happen.
#
#   ruby -Ilib soak/cases/NAME.rb BACKEND SECONDS SEED
#
# prints one line of JSON: operations, faults injected, violations.
class Case
  # Enough to see what is wrong.
  VIOLATIONS_MAX = 20

  def self.run(&)
    backend, seconds, seed = ARGV
    new(backend.to_sym, Float(seconds), Integer(seed)).run(&)
  end

  attr_reader :backend, :seconds, :random
  attr_accessor :operations, :faults

  def initialize(backend, seconds, seed)
    @backend = backend
    @seconds = seconds
    @random = Random.new(seed)
    @operations = @faults = 0
    @violations = []
    @lock = Mutex.new
    @end = now + seconds
  end

  def run(&)
    give_up_in_time
    instance_exec(&)
    report
  end

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  # Whether there is time for more.
  def more? = now < @end && @violations.size < VIOLATIONS_MAX

  def done(number = 1) = @operations += number

  def fault(number = 1) = @faults += number

  # Notes what must not happen. Any thread.
  def violation(text)
    @lock.synchronize { @violations << text if @violations.size < VIOLATIONS_MAX }
  end

  def expect(true_or_false, text)
    violation(text) unless true_or_false
  end

  # Runs the block under a scheduler of this case's backend, in a thread of its own.
  def scheduled(**, &)
    Thread.new { UringIO.run(backend:, **, &) }.value
  end

  # Descriptors of this process, but for the one that looks.
  def descriptors = Dir.children("/proc/self/fd").size - 1

  # KiB of memory that are resident.
  def resident = File.read("/proc/self/status")[/^VmRSS:\s+(\d+)/, 1].to_i

  private

  def report = puts(JSON.generate(operations:, faults:, violations: @violations))

  # Tells where it hangs, before the runner kills it.
  def give_up_in_time
    Thread.new do
      sleep(seconds + 40)
      places = (Thread.list - [Thread.current]).map { |thread| thread.backtrace.to_a.first(5).join(" < ") }
      violation("it does not end: #{places.join('; ')}")
      report
      $stdout.flush
      exit!(1)
    end
  end
end
