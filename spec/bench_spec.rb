# frozen_string_literal: true

require "json"
require_relative "../bench/comparison"
require_relative "../bench/measurement"

# These examples ignore the measured figures. One process is enough for them, so the one with epoll runs them.
RSpec.describe "bench" do
  let(:run) { File.expand_path("../bench/run.rb", __dir__) }
  let(:file) { File.join(Dir.mktmpdir, "figures.json") }

  before { skip "for the process that runs on epoll" unless Backends::CHOSEN.include?(:epoll) }
  after { FileUtils.remove_entry(File.dirname(file)) }

  def bench(*, **)
    child("exec(RbConfig.ruby, *ARGV)", run, *, limit: 110, **)
  end

  def measure(*command, limit: 10)
    Bench::Measurement.new([{}, *command], limit).run
  end

  it "prints a row for each workload and target, and keeps the figures in a file", limit: 120 do
    result = bench("echo-1", "queue", "--with", "threads,epoll", "--runs", 1, "--seconds", 0.05, "--json", file)
    expect(result.status).to be_success, result.stderr
    row = /(?:echo-1|queue) +(?:threads|epoll) +\d+ .*\n/
    expect(result.stdout).to match(/^workload +target +per second .*\n(?:#{row}){4}\z/)
    figures = JSON.parse(File.read(file), symbolize_names: true)
    expect(figures).to include(runs: 1, seconds: 0.05, baseline: "async", machine: include(ruby: RUBY_DESCRIPTION))
    expect(figures[:targets].map { |target| target[:name] }).to eq(%w[threads epoll])
    expect(figures[:workloads].map { |workload| workload.values_at(:name, :group, :connections) })
      .to eq([["echo-1", "echo", 1], ["queue", nil, nil]])
    expect(figures[:results].map { |cell| cell.values_at(:workload, :target) })
      .to eq([%w[echo-1 threads], %w[echo-1 epoll], %w[queue threads], %w[queue epoll]])
    expect(figures[:results]).to all(include(rates: [be_positive], median: be_positive, p50_us: be_positive,
                                             cpu_s_per_mop: be_positive, peak_kb: be_positive, ratio: nil))
  end

  it "reports the rows that have become slower or faster by more than their spread", limit: 120 do
    figures = lambda do |rates|
      { "machine" => { "ruby" => "ruby 3.3.8" }, "results" => rates.map do |target, (min, median, max)|
        { "workload" => "queue", "target" => target, "min" => min, "median" => median, "max" => max,
          "cpu_s_per_mop" => 1.0 }
      end }
    end
    # Rates that no machine reaches, rates that any machine reaches, a row that overlaps, and one that the run leaves
    # out.
    before = { "epoll" => [1e12, 1e12, 1e12], "threads" => [1, 1, 1], "poll" => [0, 1e12, 1e13], "async" => [1, 1, 1] }
    File.write(file, JSON.generate(figures[before]))
    result = bench("queue", "--with", "threads,epoll,poll", "--runs", 1, "--seconds", 0.05, "--compare", file,
                   "--flags", "--disable=did_you_mean")
    expect(result.status).to be_success, result.stderr
    expect(result.stdout).to include("each program is run by ruby --disable=did_you_mean\n")
    *, machine, summary, slower, faster = result.stdout.lines(chomp: true)
    expect(machine).to eq("compared with ruby 3.3.8:")
    expect(summary).to start_with("1 of 3 rows lost more than 15 %, and 1 gained as much")
    expect(slower).to match(/\A  queue epoll .* -> .*, 0\.00, processor time/)
    expect(faster).to match(/\A  queue threads .* -> /)
  end

  it "compares shares of the baseline's rates, so that another machine's figures say something" do
    run = lambda do |rates|
      { machine: { ruby: "ruby 3.3.8" }, results: rates.map do |target, rate|
        { workload: "queue", target:, min: rate, median: rate, max: rate, cpu_s_per_mop: 1e6 / rate }
      end }
    end
    # A machine that is ten times as fast.
    before = run[{ "async" => 100, "epoll" => 200, "io_uring" => 300, "poll" => 50 }]
    after = run[{ "async" => 1000, "epoll" => 2000, "io_uring" => 1500, "poll" => 1000 }]
    heading, summary, slower, faster = Bench::Comparison.new(before, after).to_s.lines(chomp: true)
    expect(heading).to eq("compared with ruby 3.3.8, as shares of async's rates:")
    expect(summary).to start_with("1 of 3 rows lost more than 15 %, and 1 gained as much")
    expect(slower).to match(/queue io_uring .* 300 -> +1,500 a second, 0\.50, processor time of an operation 2\.00\z/)
    expect(faster).to match(/queue poll .* 2\.00, processor time of an operation 0\.50\z/)
  end

  it "refuses to compare with a file that has no figures", limit: 120 do
    File.write(file, "[]")
    result = bench("queue", "--compare", file)
    expect(result.status.exitstatus).to eq(64)
    expect(result.stderr).to start_with("bin/bench: --compare: #{file} is not a file that --json wrote")
  end

  it "prints a row with the reason for a target that cannot run", limit: 120 do
    result = bench("idle", "--with", "threads", "--runs", 1, "--seconds", 0.05, "--json", file)
    expect(result.status).to be_success, result.stderr
    expect(result.stdout).to match(/^idle +threads .*threads stop at 2,000 connections$/)
    expect(JSON.parse(File.read(file))["results"].first).to include("rates" => [], "note" => /stop at 2,000/)
  end

  it "lists the workloads and the targets, and why a target cannot run", limit: 120 do
    result = bench("--list", env: { "PATH" => "/nowhere" })
    expect(result.status).to be_success, result.stderr
    expect(result.stdout).to match(/^echo-1 +TCP echo.*^idle .*^threads +Ruby's threads$/m)
    expect(result.stdout).to match(/^floor .*: cargo is not installed$/)
    expect(result.stdout).not_to include("per second")
  end

  it "refuses unknown names", limit: 120 do
    result = bench("ecco")
    expect(result.status.exitstatus).to eq(64)
    expect(result.stderr).to start_with("bin/bench: there is no workload ecco; there are echo-1, ")
  end

  it "records a program that fails, with its last message" do
    expect(measure("ruby", "-e", "warn 'beware'; raise 'no luck'"))
      .to have_attributes(failed: true, note: /failed: .*no luck \(RuntimeError\)/)
  end

  it "ends a program that hangs, with the processes that it has started" do
    File.mkfifo(file)
    # The read ends when no process has the FIFO open any longer.
    reader = Thread.new { File.read(file) }
    outcome = measure("sh", "-c", "sleep 1000 >#{file} & wait", limit: 1)
    expect(outcome).to have_attributes(failed: true, figures: nil, note: "hung: ended after 1 s")
    expect(reader.join(10)&.value).to eq("")
  end

  it "leaves no descriptor open when strace cannot attach", skip: Bench::SystemCalls.missing do
    gone = Process.spawn("true")
    Process.wait(gone)
    open = Dir.children("/proc/self/fd")
    GC.disable
    expect(Bench::SystemCalls.new(gone, file).per_operation(0)).to eq([nil, "strace did not attach"])
    expect(Dir.children("/proc/self/fd")).to match_array(open)
  ensure
    GC.enable
  end

  it "leaves out a program that says what it lacks" do
    outcome = measure("echo", '{"missing":"a server"}')
    expect(outcome).to have_attributes(failed: false, figures: nil, note: "a server")
  end
end
