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
  CASES = Dir.children(File.join(FOLDER, "cases")).map { |file| File.basename(file, ".rb") }.sort.freeze
  BACKENDS = %w[io_uring epoll].freeze
  # What a case may need beyond its time: to start, to end, and where the machine is busy.
  GRACE_SECONDS = 60

  # What came of a case on a backend.
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
    def run(cases, backends, seconds, seed)
      share = seconds / cases.size
      outcomes = cases.each_with_index.flat_map do |name, index|
        left = ((cases.size - index) * share).round
        warn "#{name}: #{share.round(1)} s on #{backends.join(' and ')}; #{left} s to go"
        backends.map { |backend| Thread.new { outcome(name, backend, share, seed) } }.map(&:value)
      end
      report(outcomes, seed)
    end

    private

    def outcome(name, backend, seconds, seed)
      command = [RbConfig.ruby, "-W:no-experimental", "-I#{LIB}", File.join(FOLDER, "cases", "#{name}.rb"), backend,
                 seconds.to_s, seed.to_s]
      limit = (seconds + GRACE_SECONDS).ceil
      # Ruby keeps SIGTERM to itself while it is stuck in native code.
      output, errors, status = Open3.capture3("timeout", "--signal=KILL", limit.to_s, *command)
      found = JSON.parse(output.lines.last || "{}", symbolize_names: true)
      violations = found.fetch(:violations, [])
      violations += ["it ended badly: #{status.inspect}\n#{errors.lines.last(15).join}"] unless status.success?
      warn errors if status.success? && !errors.empty?
      Outcome.new(name, backend, found[:operations] || 0, found[:faults] || 0, violations)
    rescue JSON::ParserError
      Outcome.new(name, backend, 0, 0, ["it said #{output.inspect}\n#{errors.lines.last(15).join}"])
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
only = Soak::CASES
backends = Soak::BACKENDS
seed = Random.new_seed % 1_000_000
OptionParser.new do |options|
  options.on("--minutes N", Float) { |number| minutes = number }
  options.on("--only NAMES", Array) { |names| only = names }
  options.on("--backends NAMES", Array) { |names| backends = names }
  options.on("--seed N", Integer) { |number| seed = number }
end.parse!
unknown = only - Soak::CASES
abort "bin/soak: there is no case #{unknown.join(', ')}; there are #{Soak::CASES.join(', ')}" if unknown.any?

seconds = minutes ? minutes * 60 : only.size * 5.0
exit Soak.run(only, backends, seconds, seed)
