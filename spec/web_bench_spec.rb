# frozen_string_literal: true

require "json"
require_relative "support/redis"

# Checks that the scripts which compare web servers do what they say, and ignores their numbers. Each takes seconds, so
# only the process that has these two backends runs them.
RSpec.describe "bench" do
  before do
    skip "for the process that runs on io_uring and epoll" unless Backends::CHOSEN == %i[io_uring epoll]
    skip "wrk is not installed" unless RedisServer.executable("wrk")
  end

  def skip_without(*gems)
    missing = gems.find { |name| Gem::Specification.find_all_by_name(name).empty? }
    skip "the gem #{missing} is not installed" if missing
  end

  def bench(name, *, **, &)
    script = File.expand_path("../bench/#{name}/run", __dir__)
    child("exec(RbConfig.ruby, *ARGV)", script, *, limit: 60, **, &)
  end

  # Runs one round of a script. Returns the script's result, and the content of its file.
  def round(name, *routes)
    file = free_path("results.json")
    result = bench(name, "--rounds", 1, "--seconds", 1, "--connections", 2, "--json", file, *routes)
    expect(result).to have_attributes(stderr: "", status: be_success)
    [result, JSON.parse(File.read(file), symbolize_names: true)]
  end

  def expect_measured(result)
    expect(result[:rates]).to eq([result[:median]])
    expect(result.values_at(:median, :min, :max, :ratio, :p50_us, :p99_us, :cpu_s_per_mop, :peak_kb))
      .to all(be_positive)
    expect(result).to include(syscalls_per_op: SystemCalls.missing ? nil : be_positive, kb_per_connection: nil)
  end

  def names_of_children(pid)
    File.read("/proc/#{pid}/task/#{pid}/children").split.map { |child| File.read("/proc/#{child}/comm").chomp }
  rescue Errno::ENOENT, Errno::ESRCH
    [] # one of the children has just gone
  end

  it "puma measures Puma on its own reactor's selector and on ours, with five threads and with one", limit: 90 do
    skip_without("puma", "rack")
    skip Backends.missing(:io_uring) if Backends.missing(:io_uring)

    _, found = round("puma", "hello")
    expect(found).to include(runs: 1, seconds: 1, baseline: "puma")
    expect(found[:machine].keys).to eq(%i[ruby kernel cpu cpus memory_mb load gems date])
    expect(found[:targets].map { |target| target[:name] }).to eq(%w[puma uring_io])
    expect(found[:workloads]).to match(
      [include(name: "puma-hello-2", unit: "requests", group: "puma-hello", connections: 2),
       include(name: "puma-1-thread-hello-2", unit: "requests", group: "puma-1-thread-hello", connections: 2)]
    )
    expect(found[:results].size).to eq(4)
    found[:results].each { |row| expect_measured(row) }
  end

  it "falcon measures Async's server on io-event's selector and on ours, and a plain server", limit: 90 do
    skip_without("async-http", "io-event", "protocol-rack", "rack")
    skip Backends.missing(:io_uring) if Backends.missing(:io_uring)

    result, found = round("falcon", "hello")
    expect(found[:baseline]).to eq("async")
    expect(found[:targets].map { |target| target[:name] }).to eq(%w[async uring_io uring_io-epoll plain])
    expect(found[:results].map { |row| row[:workload] }.uniq).to eq(%w[falcon-hello-2])
    expect(found[:results].size).to eq(4)
    found[:results].each { |row| expect_measured(row) }
    next if Gem::Specification.find_all_by_name("falcon").any?

    expect(result.stdout).to include("async-http's server stands in for Falcon, which is not installed\n")
  end

  it "leaves no process behind when somebody interrupts it", limit: 90 do
    skip_without("puma", "rack")
    pid = nil
    result = bench("puma", "--rounds", 1, "--seconds", 20, "--connections", 2, "hello", "redis") do |program|
      pid = program.pid
      eventually { names_of_children(pid).include?("wrk") }
      program.signal("INT")
    end
    expect(result.stderr).to eq("bench/puma/run: ended by SIGINT\n")
    expect(result.status.exitstatus).to eq(130)
    expect { Process.kill(0, -pid) }.to raise_error(Errno::ESRCH)
  end

  it "reports a wrong option or route in one sentence" do
    { %w[--rounds 0] => /whole numbers from 1 on$/, %w[--connections 1,x] => /whole numbers from 1 on$/,
      %w[--seconds 0.5] => /0\.5$/, %w[nowhere] => /no route nowhere/, %w[--json /none/file] => %r{/none/file$} }
      .each do |arguments, message|
      result = bench("puma", *arguments)
      expect(result).to have_attributes(stdout: "", stderr: match(message).and(start_with("bench/puma/run: ")))
      expect(result.stderr.lines.size).to eq(1)
      expect(result.status.exitstatus).to eq(1)
    end
  end

  it "exits 1, and gives the reason in the cell, when a server answers wrongly or not at all", limit: 90 do
    server = free_path("server.rb")
    File.write(server, <<~'RUBY')
      require "socket"
      right = Integer(ARGV.fetch(0))
      server = TCPServer.new("127.0.0.1", 0)
      trap("TERM") { exit! }
      puts "Listening on http://127.0.0.1:#{server.local_address.ip_port}"
      $stdout.flush
      loop do
        Thread.new(server.accept) do |client|
          while client.gets("\r\n\r\n")
            right -= 1
            body = "Hello from a fiber\n"
            client.write("HTTP/1.1 #{right.negative? ? '500 No' : '200 OK'}\r\nContent-Length: 19\r\n\r\n#{body}")
          end
        rescue SystemCallError
          nil
        end
      end
    RUBY
    file = free_path("results.json")
    run = File.expand_path("../bench/web/run", __dir__)
    result = child(<<~RUBY, *%w[--rounds 2 --seconds 1 --connections 2 hello --json], file, limit: 60)
      require #{run.dump}
      require #{File.join(File.dirname(run), 'plain_site').dump}
      make = lambda do |name, **options|
        WebBench::Target.new(name:, title: name.capitalize, script: #{server.dump}, **options)
      end
      ended = make.call("ended", probe: "abort 'not here'")
      targets = [make.call("good"), make.call("bad"), ended]
      right = ->(target) { target.name == "good" ? "1000000000" : "3" }
      WebBench::Target.define_method(:command) { |_| [{}, RbConfig.ruby, script, right.call(self)] }
      exit WebBench::Run.new("spec", WebBench::PlainSite.new, targets, { nil => [] }).main(ARGV)
    RUBY
    expect(result.stderr).to eq("bench/spec/run: not every measurement is right\n")
    expect(result.status.exitstatus).to eq(1)
    good, bad, ended = JSON.parse(File.read(file), symbolize_names: true)[:results]
    expect(good).to include(rates: [be_positive, be_positive], note: nil)
    expect(bad).to include(rates: [], ratio: nil, note: match(/\AFAILED: Non-2xx or 3xx responses: \d+/))
    expect(ended).to include(rates: [], note: "not here")
    expect(result.stdout).to match(/Bad( +-){9}  FAILED: Non-2xx/).and match(/Ended( +-){9}  not here/)
  end
end
