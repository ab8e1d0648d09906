# frozen_string_literal: true

require "fileutils"
require "uring_io/profile"
require_relative "../support/profiles"

# Counts that the agent takes inside of a Ruby which the profiler starts.
RSpec.describe UringIO::Profile, "inside of a program", :profiles, limit: 60 do
  work = "sum = 0; 4_000_000.times { |number| sum += number }"

  # A foreign scheduler, as small as possible: it can sleep, and wait for input.
  let(:small_scheduler) do
    <<~RUBY
      class SmallScheduler
        def initialize
          @ready = []
          @sleeping = {}
          @reading = {}
          @writing = {}
        end

        def fiber(&block) = Fiber.new(blocking: false, &block).tap(&:resume)
        def block(*) = raise(NotImplementedError)
        def unblock(*) = raise(NotImplementedError)

        def kernel_sleep(seconds = nil)
          @sleeping[Fiber.current] = now + seconds
          Fiber.yield
        end

        def io_wait(io, events, timeout)
          (events == IO::READABLE ? @reading : @writing)[io] = Fiber.current
          Fiber.yield
          events
        end

        def close
          until [@sleeping, @reading, @writing].all?(&:empty?)
            seconds = [(@sleeping.values.min || now + 9) - now, 0].max
            readable, writable = IO.select(@reading.keys, @writing.keys, nil, seconds)
            readable&.each { |io| @reading.delete(io).resume }
            writable&.each { |io| @writing.delete(io).resume }
            @sleeping.select { |_, time| time <= now }.each_key { |fiber| @sleeping.delete(fiber) && fiber.resume }
          end
        end

        private

        def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end
    RUBY
  end

  # A server with a thread per client, outside of the profiled program, that answers each line after 0.1 seconds.
  def answering
    server = TCPServer.new("127.0.0.1", 0)
    answer = lambda do
      while (socket = server.accept)
        Thread.new(socket) { |one| sleep(0.1) && one.puts("x") while one.gets }
      end
    end
    thread = Thread.new { answer.call }
    yield server.local_address.ip_port
  ensure
    thread&.kill&.join
    server&.close
  end

  it "counts exactly how long threads wait for the GVL, and all sums stay right" do
    found = recorded("Array.new(4) { Thread.new { #{work} } }.each(&:join)")
    # Three of the four threads wait while one runs, or would run if it had a processor.
    expect(found[:shares][:gvl]).to be_within(0.1).of(0.75)
    expect(found[:shares][:contention]).to eq(agents(found).sum { |agent| agent[:gvl][:seconds] })
    expect(found[:verdict]).to include(kind: "gvl", worth_it: false)
    expect_sums(found)
    exact = found[:processes].sum do |process|
      process[:threads].sum { |thread| thread[:waits].sum { |wait| wait[:kind] == "gvl" ? wait[:seconds] : 0.0 } }
    end
    expect(exact).to be_within(found[:shares][:contention] * 0.1).of(found[:shares][:contention])
  end

  it "does not report GVL waits for a program of one thread" do
    found = recorded(work)
    expect(agents(found).first[:gvl][:seconds]).to be < found[:seconds] / 10
    expect(found[:shares][:gvl]).to be < 0.1
  end

  it "distinguishes garbage collection from computing" do
    keep = "kept = Array.new(300_000) { |n| [n.to_s] }; 30.times { GC.start }; kept.size"
    found = recorded(keep)
    expect_mostly(found, "gc")
    expect(undisturbed_verdict(found).sentences.first).to start_with("It collects garbage: ")
    expect(agents(found).first[:gc]).to include(count: be >= 30)
    expect_sums(found)
    computing = recorded("#{work}; GC.disable")
    expect(seconds(computing, "gc")).to be < seconds(computing, "computing") / 4
  end

  it "counts the waits of fibers, of any scheduler, by peer" do
    answering do |port|
      fibers = "3.times { Fiber.schedule { s = TCPSocket.new('127.0.0.1', ARGV[0].to_i); 2.times { s.puts; s.gets } } }"
      { "#{small_scheduler}; Fiber.set_scheduler(SmallScheduler.new)" => "SmallScheduler",
        "require 'uring_io'; Fiber.set_scheduler(UringIO::Scheduler.new)" => "UringIO::Scheduler" }.each do |set, name|
        found = recorded("require 'socket'; #{set}; #{fibers}; Fiber.schedule { sleep 0.1 }", port)
        agent = agents(found).first
        expect(agent[:scheduler]).to include(class: name)
        waits = agent[:fibers][:waits].group_by { |wait| wait.values_at(:kind, :peer) }
        expect(waits[["socket", "127.0.0.1:#{port}"]].sum { |wait| wait[:seconds] }).to be > 0.5
        expect(waits[["asleep", nil]].sum { |wait| wait[:count] }).to eq(1)
        expect(agent[:fibers][:at_most]).to eq(4)
        expect(found[:verdict]).to include(worth_it: false)
      end
    end
  end

  it "reports the statistics of our scheduler" do
    found = recorded("require 'uring_io'; UringIO.run { 100.times { sleep 0.001 } }")
    expect(agents(found).first[:scheduler]).to include(class: "UringIO::Scheduler", enters: be_between(90, 400))
  end

  it "counts until the end, however the process ends, and in each process that it starts or becomes" do
    # Each thread gives up the GVL many times, so that the other one waits for it.
    fight = "Array.new(2) { Thread.new { 50.times { 40_000.times { nil }; Thread.pass } } }.each(&:join)"
    { "exit!(0)" => 1, "Process.wait(fork { #{fight}; Process.kill(:KILL, $$) })" => 2,
      "fork { #{fight} }; Process.wait" => 2,
      "exec(RbConfig.ruby, '-e', '#{fight}')" => 1, "system(RbConfig.ruby, '-e', '#{fight}')" => 2,
      "Process.daemon; #{fight}" => nil }.each do |last, processes|
      found = recorded("#{fight}; #{last}")
      expect(agents(found).sum { |agent| agent[:gvl][:count] }).to be > 4, last
      expect(agents(found).size).to eq(processes), last if processes
    end
  end

  it "is invisible to the program: threads, descriptors, signals, output and status stay the same" do
    script = <<~RUBY
      puts Thread.list.size, Dir.children("/proc/self/task").size, Dir.children("/proc/self/fd").sort.inspect
      puts Signal.list.keys.map { |name| trap(name, "DEFAULT").inspect rescue name }.inspect
      puts $LOAD_PATH.inspect, Thread.current.keys.inspect, $!.inspect, Object.new.method(:require).owner
      puts ARGV.inspect, $PROGRAM_NAME, Process.ppid.class
      Fiber.set_scheduler(nil)
      exit 3
    RUBY
    inside, outside = [[], ["--outside"]].map { |option| profile("--json", *option, "--", "ruby", "-w", "-e", script) }
    expect(inside.stderr).to eq(outside.stderr)
    expect(inside.status.exitstatus).to eq(3)
    expect(JSON.parse(inside.stdout)["processes"].first["agent"]).not_to be_nil
    expect(JSON.parse(outside.stdout)["processes"].first["agent"]).to be_nil
  end

  it "keeps the values of RUBYOPT and RUBYLIB" do
    Dir.mktmpdir do |folder|
      File.write("#{folder}/given.rb", "$given = 1")
      env = { "RUBYOPT" => "-rgiven -W0", "RUBYLIB" => folder }
      result = profile("--json", "--", RbConfig.ruby, "-e", "p $given, $VERBOSE, ENV['RUBYOPT']", env:)
      expect(result.stderr.lines.first(2)).to eq(%W[1\n nil\n])
      expect(result.stderr.lines[2]).to start_with('"-rgiven -W0 -r')
      expect(agents(JSON.parse(result.stdout, symbolize_names: true)).size).to eq(1)
    end
  end

  it "loads from a path with spaces, and stays silent when it is not compiled or Ruby is too old" do
    Dir.mktmpdir do |folder|
      copy = "#{folder}/a gem"
      FileUtils.mkdir_p(copy)
      %w[lib exe].each { |part| FileUtils.cp_r(File.expand_path("../../#{part}", __dir__), copy) }
      run = lambda do |*command|
        result = profile("--json", "--", *command, executable: "#{copy}/exe/uring_io")
        expect(result.stderr).to eq("done\n")
        agents(JSON.parse(result.stdout, symbolize_names: true)).size
      end
      expect(run[RbConfig.ruby, "-e", "puts :done"]).to eq(1)
      old = "Object.send(:remove_const, :RUBY_VERSION); RUBY_VERSION = '2.7.8'; load ARGV[0]; " \
            "puts defined?(UringIOProfileAgent) ? :loaded : :done"
      FileUtils.rm_r(Dir["#{copy}/lib/uring_io/*.*/uring_io_agent.so"])
      expect(run[RbConfig.ruby, "-e", "puts :done"]).to eq(0)
      agent = File.expand_path("../../lib/uring_io/profile/agent/uring_io_profile_agent.rb", __dir__)
      expect(run[RbConfig.ruby, "-e", old, agent]).to eq(0)
    end
  end

  it "reports a process that outlives the command" do
    script = "r, w = IO.pipe; fork { Process.daemon(true); w.puts; w.close; sleep }; w.close; r.gets"
    result = profile("--", RbConfig.ruby, "-e", script)
    pid = result.stderr[/\Auring_io: process (\d+), which the command has left behind, goes on/, 1]
    expect(File.read("/proc/#{pid}/cmdline")).to include("Process.daemon")
    Process.kill(:KILL, Integer(pid))
  end

  it "leaves no file behind" do
    Dir.mktmpdir do |folder|
      result = profile("--", RbConfig.ruby, "-e", "fork { 1 }; Process.wait", env: { "TMPDIR" => folder })
      expect(result.status.exitstatus).to eq(0)
      expect(Dir.children(folder)).to eq([])
    end
  end
end
