# frozen_string_literal: true

# bin/bench starts this. It runs the programs of workloads/ on the targets; see bin/bench --help.

require "json"
require "optparse"
require "shellwords"
require_relative "comparison"
require_relative "document"
require_relative "plan"
require_relative "runner"
require_relative "table"

def list
  Bench::Workloads::ALL.each { |workload| puts "#{workload.name.ljust(15)} #{workload.title}: #{workload.about}" }
  puts ""
  Bench::Targets::ALL.each do |target|
    puts "#{target.name.ljust(15)} #{[target.title, *Bench::Availability.missing(target)].join(': ')}"
  end
end

def named(names, known, what)
  unknown = names - known
  return if unknown.empty?

  warn "bin/bench: there is no #{what} #{unknown.join(', ')}; there are #{known.join(', ')}"
  exit 64
end

def kept(file)
  JSON.parse(File.read(file), symbolize_names: true).tap { |figures| figures.fetch(:results) }
rescue SystemCallError, JSON::ParserError, KeyError, TypeError => error
  warn "bin/bench: --compare: #{file} is not a file that --json wrote: #{error.message.lines.first.chomp}"
  exit 64
end

runs = minutes = seconds = html = json = before = nil
quick = false
targets = nil
flags = []
parser = OptionParser.new do |options|
  options.on("--with TARGETS", Array) { |names| targets = names }
  options.on("--runs N", Integer) { |number| runs = number }
  options.on("--quick") { quick = true }
  options.on("--minutes N", Float) { |number| minutes = number }
  options.on("--seconds S", Float) { |number| seconds = number }
  options.on("--html FILE") { |file| html = file }
  options.on("--json FILE") { |file| json = file }
  options.on("--compare FILE") { |file| before = file }
  options.on("--flags FLAGS") { |text| flags = text.shellsplit }
  options.on("--list") do
    list
    exit
  end
end
begin
  parser.parse!
  before &&= kept(before)
rescue OptionParser::ParseError, ArgumentError => error
  warn "bin/bench: #{error.message}; see bin/bench --help"
  exit 64
end
named(ARGV, Bench::Workloads.names, "workload")
named(targets || [], Bench::Targets.names, "target")
targets ||= quick ? Bench::Targets::MAIN : Bench::Targets.names

$stdout.sync = true
plan = Bench::Plan.new(
  ARGV.empty? ? Bench::Workloads::ALL : ARGV.uniq.map { |name| Bench::Workloads.find(name) },
  Bench::Targets::ALL.select { |target| targets.include?(target.name) },
  runs: runs || (quick ? 1 : 5), minutes: minutes || (quick ? 3 : 30),
  seconds: seconds || (Bench::Plan::SHORTEST if quick && minutes.nil?),
  flags:, counting: quick ? Bench::Plan::COUNTING_SECONDS / 2 : Bench::Plan::COUNTING_SECONDS
)
runner = Bench::Runner.new(plan)
document = Bench::Document.new(plan, runner)
document.introduce(quick && targets == Bench::Targets::MAIN)
begin
  runner.run { |results| puts(results.map { |result| Bench::Table.row(result) }) }
rescue Interrupt
  exit 130
end
puts "", Bench::Comparison.new(before, document.to_h) if before
text = JSON.pretty_generate(document.to_h)
File.write(json, "#{text}\n") if json
if html
  require_relative "report"
  # Parsed again, so that its keys are strings, as in the file.
  Bench::Report.new(JSON.parse(text)).write(html)
end
if runner.failed?
  warn "bin/bench: some measurements failed; their rows say how"
  exit 1
end
