# frozen_string_literal: true

# Started by bin/soak: runs the cases, each in a process of its own on each backend, and prints a table of them.

require "json"
require "open3"
require "optparse"
require "rbconfig"

# See bin/soak --help.
module Soak
  FOLDER = __dir__
  LIB = File.expand_path("../lib", FOLDER)
  CASES = Dir.glob("*.rb", base: File.join(FOLDER, "cases")).map { |file| File.basename(file, ".rb") }.sort.freeze
  BACKENDS = %w[io_uring epoll].freeze
  # Seconds that a case may need beyond its time: to start, to end, and when the machine is busy.
  GRACE_SECONDS = 60
  # The long form: how long a case works at least, and at most where it does not reach its goals.
  FULL_SECONDS = Hash.new(120).update("load" => 600).freeze
  FULL_LIMIT_SECONDS = 3600

  # The outcome of a case on a backend.
  Outcome = Struct.new(:name, :backend, :operations, :faults, :violations) do
    def to_s
      [name.ljust(12), backend.ljust(10), operations.to_s.rjust(12), faults.to_s.rjust(16),
       violations.size.to_s.rjust(12)].join(" ")
    end
  end

  HEAD = ["case".ljust(12), "backend".ljust(10), "operations".rjust(12), "faults injected".rjust(16),
          "violations".rjust(12)].join(" ").freeze

  class << self
    # Whether nothing was violated.
    #
    # @param shares [Hash] how many seconds each case has
    # @param limit [Integer, nil] with it the cases reach their goals, too
    def run(shares, backends, seed, limit)
      left = shares.values.sum
      outcomes = shares.flat_map do |name, share|
        more = " and until its goals are reached" if limit
        warn "#{name}: #{share.round(1)} s#{more} on #{backends.join(' and ')}; #{left.round} s to go"
        left -= share
        backends.map { |backend| Thread.new { outcome(name, backend, share, seed, limit) } }.map(&:value)
      end
      report(outcomes, seed)
    end

    private

    def outcome(name, backend, seconds, seed, limit)
      command = [RbConfig.ruby, "-W:no-experimental", "-I#{LIB}", File.join(FOLDER, "cases", "#{name}.rb"), backend,
                 seconds.to_s, seed.to_s, *limit&.to_s]
      patience = ((limit || seconds) + GRACE_SECONDS).ceil
      # Ruby keeps SIGTERM to itself while it is stuck in native code.
      output, errors, status = said("timeout", "--signal=KILL", patience.to_s, *command)
      found = JSON.parse(output.lines.last || "{}", symbolize_names: true)
      violations = found.fetch(:violations, [])
      violations += ["it ended badly: #{status.inspect}\n#{errors.last(15).join}"] unless status.success?
      Outcome.new(name, backend, found[:operations] || 0, found[:faults] || 0, violations)
    rescue JSON::ParserError
      Outcome.new(name, backend, 0, 0, ["it said #{output.inspect}\n#{errors.last(15).join}"])
    end

    # Runs a command. Returns its output, the lines of its standard error, which it prints as they come, and its status.
    def said(*command)
      Open3.popen3(*command) do |input, output, errors, waiter|
        input.close
        lines = Thread.new { errors.each_line.map { |line| line.tap { warn line } } }
        [output.read, lines.value, waiter.value]
      end
    end

    def report(outcomes, seed)
      puts HEAD, outcomes
      bad = outcomes.select { |outcome| outcome.violations.any? }
      bad.each do |outcome|
        puts "", "#{outcome.name} on #{outcome.backend} (--seed #{seed} --only #{outcome.name}):"
        outcome.violations.each { |violation| puts "  #{violation}" }
      end
      passed = outcomes.size - bad.size
      puts "", "#{passed} passed, #{bad.size} failed"
      bad.empty?
    end
  end
end

minutes = nil
full = false
only = Soak::CASES
backends = Soak::BACKENDS
seed = Random.new_seed % 1_000_000
OptionParser.new do |options|
  options.on("--minutes N", Float) { |number| minutes = number }
  options.on("--full") { full = true }
  options.on("--only NAMES", Array) { |names| only = names }
  options.on("--backends NAMES", Array) { |names| backends = names }
  options.on("--seed N", Integer) { |number| seed = number }
end.parse!
unknown = only - Soak::CASES
abort "bin/soak: there is no case #{unknown.join(', ')}; there are #{Soak::CASES.join(', ')}" if unknown.any?
abort "bin/soak: --full has times of its own, so --minutes cannot be given with it" if full && minutes

share = minutes ? minutes * 60 / only.size : 5.0
shares = only.to_h { |name| [name, full ? Soak::FULL_SECONDS[name] : share] }
exit Soak.run(shares, backends, seed, full ? Soak::FULL_LIMIT_SECONDS : nil)
