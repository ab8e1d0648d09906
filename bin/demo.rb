# frozen_string_literal: true

# bin/demo starts this. It runs programs on uring_io, each in a process of its own, and prints a table of their figures.

require "json"
require "rbconfig"
require "tmpdir"
require "uring_io"
require_relative "../bench/support/signals"
require_relative "demo_report"
require_relative "demo_tools"

# See bin/demo --help.
module Demo
  RUBY = [RbConfig.ruby, "-I#{File.expand_path('../lib', __dir__)}"].freeze
  FETCH = [*RUBY, File.join(__dir__, "demo_fetch.rb")].freeze
  SERVER = [*RUBY, File.expand_path("../examples/http_server.rb", __dir__)].freeze
  ROUNDS = 3
  GREETING = "Hello from a fiber\n" # the server's answer
  WRK = %w[wrk --threads 2 --connections 64 --timeout 5s].freeze

  # One run of a program: its requests, the seconds that they took, when that was, and the process's use of memory and
  # threads.
  Run = Data.define(:requests, :seconds, :period, :usage) do
    def rate = requests / seconds
  end

  # A line of the table: some work, on one target, several times.
  class Row
    attr_reader :job, :target, :calls, :why

    def initialize(work, target)
      @work = work
      @job = work.job
      @target = target
      @runs = []
      backend = UringIO.support.backends[target]
      @why = "not available (#{backend.reason}). #{backend.cause}" unless backend.nil? || backend.available?
    end

    def time(round)
      attempt("run #{round} of #{ROUNDS}") { @runs << @work.run(target) }
    end

    def count_calls(strace)
      attempt("counting system calls") do
        run = @work.run(target, strace)
        @calls = strace.count(run.period).fdiv(run.requests)
      end
    end

    # False when the program did not run, or an answer was wrong: see #why.
    def measured? = why.nil?
    def failed? = @failed

    def seconds = median.seconds
    def rate = median.rate
    def spread = @runs.map(&:rate).max / @runs.map(&:rate).min
    def threads = @runs.map { |run| run.usage.threads }.max
    def mebibytes = @runs.map { |run| run.usage.kilobytes }.max / 1024

    private

    def median = @runs.sort_by(&:rate)[@runs.size / 2]

    def attempt(step)
      return unless measured?

      warn "#{job} on #{target}, #{step} ..."
      yield
    rescue Failed, SystemCallError, JSON::ParserError => error
      @why = "FAILED: #{error.message}"
      @failed = true
    end
  end

  # Fetches files from nginx and compares them.
  class Fetching
    TARGETS = %i[io_uring epoll poll select threads].freeze

    def initialize(nginx)
      @nginx = nginx
    end

    def job = :fetching

    def run(target, strace = nil)
      Child.open(*strace&.command, *FETCH, @nginx.port.to_s, @nginx.files, target.to_s) do |child|
        child.gets
        usage = Usage.new(child.pid)
        start = Time.now
        child.puts "go"
        result = JSON.parse(child.gets { usage.look }, symbolize_names: true)
        period = start..Time.now
        usage.look
        child.finish
        check(result)
        Run.new(requests: result[:right], seconds: result[:seconds], period:, usage:)
      end
    end

    private

    def check(result)
      return if result[:right] == result[:requests] && result[:errors].empty?

      errors = result[:errors].map { |error, times| "#{error} (#{times} times)" }
      raise Failed, "#{result[:right]} of #{result[:requests]} requests were right. #{errors.join('; ')}"
    end
  end

  # Serves HTTP to wrk.
  class Serving
    TARGETS = %i[io_uring epoll].freeze

    def initialize(folder)
      # This script lets wrk check every body. That takes time, so the timed runs go without it.
      @script = File.join(folder, "check.lua")
      File.write(@script, <<~LUA)
        response = function(status, headers, body)
          if status ~= 200 or body ~= #{GREETING.inspect} then print("wrong response") end
        end
      LUA
    end

    def job = :serving

    def run(target, strace = nil)
      Child.open(*strace&.command, *SERVER, "--port", "0", "--backend", target.to_s) do |server|
        url = server.gets[%r{http://\S+}]
        usage = Usage.new(server.pid)
        start = Time.now
        options = strace ? ["--duration", "1s", "--script", @script] : ["--duration", "2s"]
        report = Child.open(*WRK, *options, url) { |wrk| wrk.read { usage.look }.tap { wrk.finish } }
        period = start..Time.now
        usage.look
        server.signal("TERM")
        served = server.gets[/\d+/].to_i
        server.finish
        requests, seconds = check(report)
        # wrk does not count the requests whose answers it did not wait for, but strace has their system calls.
        Run.new(requests: strace ? served : requests, seconds:, period:, usage:)
      end
    end

    private

    def check(report)
      problem = report[/wrong response|Socket errors.*|Non-2xx.*/]
      requests, seconds = report.match(/(\d+) requests in ([\d.]+)s/)&.captures
      raise Failed, problem || "wrk said: #{report}" if problem || requests.to_i.zero?

      [requests.to_i, seconds.to_f]
    end
  end

  # All rows of a kind of work. They take turns, so that other work of the machine disturbs all of them.
  def self.rows(work, strace)
    rows = work.class::TARGETS.map { |target| Row.new(work, target) }
    (1..ROUNDS).each { |round| rows.each { |row| row.time(round) } }
    rows.each { |row| row.count_calls(strace) if strace }
  end

  # Makes all rows and prints the report. Returns whether all rows are right.
  def self.run
    Signals.raise_as_exceptions
    $stdout.sync = true
    puts Report.machine
    obstacle = Strace.obstacle
    rows = Dir.mktmpdir("uring_io-demo-") do |folder|
      strace = Strace.new(folder) unless obstacle
      Nginx.open(folder) { |nginx| rows(Fetching.new(nginx), strace) } + rows(Serving.new(folder), strace)
    end
    puts Report.new(rows, obstacle)
    rows.none?(&:failed?)
  end
end

begin
  Demo.run or abort "bin/demo: not every row is right"
rescue Demo::Failed, Errno::EPIPE => error
  abort "bin/demo: #{error.message}"
rescue SignalException => error
  warn "bin/demo: ended by #{error.message}"
  exit 128 + error.signo
end
