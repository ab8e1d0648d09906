# frozen_string_literal: true

require "socket"
require "tempfile"
require "uring_io/profile"
require_relative "../support/postgresql"
require_relative "../support/profiles"

# Each example profiles a real program. None checks how long a thread waits for a processor, because a busy machine
# changes that.
RSpec.describe UringIO::Profile, :profiles, limit: 60 do
  it "says in one sentence that a sleeping program has nothing to gain" do
    result = profile("--", RbConfig.ruby, "-e", "sleep 1")
    expect(result.stderr).to eq("")
    expect(result.status.exitstatus).to eq(0)
    verdict = result.stdout[/^Verdict\n(.*)\z/m, 1].gsub(/\s+/, " ").strip
    expect(verdict).to start_with("There is nothing to gain by io_uring or by a fiber scheduler: the program slept")
    expect(verdict.count(".")).to eq(1)
  end

  it "adds up to the wall time, per process and per thread" do
    found = recorded("thread = Thread.new { sleep 0.2 }; 2_000_000.times { nil }; system('sleep 1'); thread.join")
    expect_sums(found)
    expect(found[:processes].size).to eq(2)
  end

  it "distinguishes computing from threads that fight for the GVL" do
    work = "sum = 0; 8_000_000.times { |number| sum += number }"
    alone = recorded(work)
    expect_mostly(alone, "computing")
    expect(alone[:shares][:contention]).to be < alone[:seconds] / 4
    fight = recorded("Array.new(3) { Thread.new { #{work} } }.each(&:join)")
    expect(fight[:shares][:contention]).to be > fight[:seconds]
    expect(fight[:verdict]).to include(kind: "gvl", worth_it: false)
  end

  it "recognizes waits for a Queue, a child and a pipe" do
    expect_mostly(recorded("queue = Queue.new; Thread.new { system('sleep 0.6'); queue << 1 }; queue.pop"), "asleep")
    expect_mostly(recorded("Process.wait(spawn(%q(sleep 0.6)))"), "asleep")
    piped = recorded("IO.popen('exec sleep 0.6').wait_readable(5)")
    expect(seconds(piped, "pipe")).to be_within(0.3).of(0.6)
    # Nobody else can write to this pipe.
    expect_mostly(recorded("reader, writer = IO.pipe; reader.wait_readable(0.6); writer.close"), "idle")
  end

  %w[read(1) wait_readable recv_nonblock select].each do |way|
    it "names the peer of a socket that #{way} waits for" do
      call = { "recv_nonblock" => "loop { socket.recv_nonblock(1) and break rescue socket.wait_readable }",
               "select" => "IO.select([socket])" }.fetch(way, "socket.#{way}")
      server = TCPServer.new("127.0.0.1", 0)
      answering = Thread.new { server.accept.tap { |socket| sleep(0.6) && socket.write("x") } }
      found = recorded("require 'socket'; socket = TCPSocket.new('127.0.0.1', ARGV[0].to_i); #{call}",
                       server.local_address.ip_port)
      expect_mostly(found, "socket", /\A127.0.0.1:#{server.local_address.ip_port}\z/)
      expect(found[:verdict][:overlap_at_most]).to be > 0
    ensure
      answering&.value&.close
      server&.close
    end
  end

  it "names IPv6 and UNIX peers" do
    Dir.mktmpdir do |folder|
      path = File.join(folder, "redis.sock")
      servers = [UNIXServer.new(path)]
      servers << TCPServer.new("::1", 0) if Socket.ip_address_list.any?(&:ipv6_loopback?)
      servers.each do |server|
        answering = Thread.new { server.accept.tap { |socket| sleep(0.6) && socket.write("x") } }
        place = server.is_a?(UNIXServer) ? "redis at #{path}" : "[::1]:#{server.local_address.ip_port}"
        address = server.is_a?(UNIXServer) ? path : server.local_address.ip_port.to_s
        found = recorded("require 'socket'; (ARGV[0].start_with?('/') ? UNIXSocket : TCPSocket)" \
                         ".new(*(ARGV[0].start_with?('/') ? [ARGV[0]] : ['::1', ARGV[0]])).read(1)", address)
        expect_mostly(found, "socket", /\A#{Regexp.escape(place)}\z/)
        answering.value.close
      end
    ensure
      servers&.each(&:close)
    end
  end

  it "says that a server without requests is idle, and has nothing to gain" do
    Tempfile.create("port") do |file|
      result = profile("--json", "--", RbConfig.ruby, "-rsocket", "-e", <<~RUBY, file.path, limit: 60)
        server = TCPServer.new("127.0.0.1", 0)
        queue = Queue.new
        3.times { Thread.new { queue.pop } }
        # When a thread of a server sleeps for more than a second, that counts as maintenance.
        Thread.new { sleep 5; exit!(0) }
        server.accept
      RUBY
      found = JSON.parse(result.stdout, symbolize_names: true)
      expect_mostly(found, "idle", /\Afor clients of 127.0.0.1:\d+\z/)
    end
  end

  missing = PostgreSQL.missing
  it "names the database of a slow query and of many small ones, and says where to look", skip: missing do
    postgresql = PostgreSQL.new
    connect = "require 'pg'; c = PG.connect(host: ARGV[0], dbname: 'postgres', user: 'postgres')"
    ["c.exec('SELECT pg_sleep(1)')", "300.times { c.exec('SELECT pg_sleep(0.002)') }"].each do |queries|
      found = recorded("#{connect}; #{queries}", postgresql.parameters[:host])
      # The rows are in order. Until the server has accepted, the kernel does not know the peer.
      peer = found[:shares][:rows].find { |row| row[:kind] == "socket" }[:peer]
      expect(peer).to eq("postgresql at #{postgresql.parameters[:host]}/.s.PGSQL.5432")
      next unless queries.include?("sleep(1)")

      expect_mostly(found, "socket")
      expect(undisturbed_verdict(found).sentences.first).to include("Look at the queries first")
    end
  ensure
    postgresql&.stop
  end

  it "follows children that a program starts later, and a program that execs" do
    found = recorded("pid = fork { exec('sleep', '0.4') }; sleep 0.1; Process.wait(pid); exec('sleep', '0.3')")
    expect(found[:processes].size).to eq(2)
    expect(found[:shares][:total]).to be > 0.5
    expect_mostly(found, "asleep")
  end

  it "passes on the command's exit status, output and signals" do
    expect(profile("--", RbConfig.ruby, "-e", "exit 3").status.exitstatus).to eq(3)
    expect(profile("--", RbConfig.ruby, "-e", "Process.kill(:KILL, $$); sleep").status.exitstatus).to eq(128 + 9)
    json = profile("--json", "--", RbConfig.ruby, "-e", "puts :said; sleep 0.3")
    expect(json.stderr).to eq("said\n")
    expect(JSON.parse(json.stdout)).to include("version" => 2)
    script = "trap(:TERM) { exit 7 }; puts :ready; $stdout.flush; sleep"
    # A terminal would also send INT to the command.
    terminal = File.open("/dev/tty", &:tty?) rescue false # rubocop:disable Style/RescueModifier
    ["TERM", *("INT" unless terminal)].each do |signal|
      result = profile("--", RbConfig.ruby, "-e", script.sub("TERM", signal)) do |program|
        expect(program.gets).to eq("ready\n")
        program.signal(signal)
      end
      expect(result.status.exitstatus).to eq(7)
      expect(result.stdout).to include("Verdict")
    end
  end

  it "passes signals on after the last sample, too" do
    script = "trap(:TERM) { exit 7 }; puts :ready; $stdout.flush; sleep"
    result = profile("--seconds", 0.02, "--", RbConfig.ruby, "-e", script) do |program|
      expect(program.gets).to eq("ready\n")
      program.signal("TERM")
    end
    expect(result.status.exitstatus).to eq(7)
  end

  it "sends no signal to the pid of a command that it has reaped" do
    result = child(<<~RUBY)
      require "uring_io/profile"
      UringIO::Profile.const_get(:Launch).new(["true"], seconds: nil, rate: 100, out: $stderr) do |launch|
        Thread.pass until launch.send(:ended?)
        sent = 0
        counting = TracePoint.new(:c_call) { |call| sent += 1 if call.method_id == :kill }
        counting.enable { Process.kill(:USR1, Process.pid) }
        puts sent
      end
    RUBY
    expect([result.stdout, result.stderr]).to eq(["1\n", ""])
  end

  it "writes a page that loads nothing, and a trace in which every event that begins also ends" do
    Dir.mktmpdir do |folder|
      page = File.join(folder, "page.html")
      trace = File.join(folder, "trace.json")
      result = profile("--html", page, "--trace", trace, "--", RbConfig.ruby, "-e",
                       "system('sleep 0.6'); Thread.new { sleep 0.6 }.join; '<script>'")
      expect(result.status.exitstatus).to eq(0)
      html = File.read(page)
      expect(html).not_to match(/<script|<link|<img|https?:|url\(|@import/)
      expect(html.scan(/^<h[12].*/).first(2)).to match([/Profile of .*&lt;script&gt;/, /Verdict/])
      expect(html).to include('<rect class="asleep"', "<p>There is nothing to gain")
      tracks = JSON.parse(File.read(trace))["traceEvents"].group_by { |event| event.values_at("pid", "tid") }
      expect(tracks.size).to be >= 3
      tracks.each_value do |events|
        spans = events.reject { |event| event["ph"] == "M" }
        expect(spans.map { |event| event["ph"] }).to eq(%w[B E] * (spans.size / 2))
        expect(spans.map { |event| event["ts"] }).to eq(spans.map { |event| event["ts"] }.sort)
        expect(spans.each_slice(2).map { |from, to| from["name"] == to["name"] }).to all(be(true))
      end
    end
  end

  it "reports before it starts that it cannot write a file" do
    result = profile("--html", "/nowhere/page.html", "--", RbConfig.ruby, "-e", "puts :started")
    expect(result.stdout).to eq("")
    expect(result.stderr).to eq("uring_io: --html: /nowhere/page.html cannot be written: No such file or directory\n")
    expect(result.status.exitstatus).to eq(2)
  end

  it "still prints its findings when it cannot write a file in the end" do
    Dir.mktmpdir do |folder|
      file = File.join(folder, "gone/page.html")
      Dir.mkdir(File.dirname(file))
      command = "Dir.rmdir(File.dirname(ARGV[0])); sleep(0.2); exit(3)"
      result = profile("--html", file, "--", RbConfig.ruby, "-e", command, file)
      expect(result.stdout).to include("Of each second")
      expect(result.stderr).to eq("uring_io: #{file} cannot be written: No such file or directory\n")
      expect(result.status.exitstatus).to eq(3)
    end
  end

  it "stops measuring after --seconds, and lets the command go on" do
    result = profile("--json", "--seconds", "0.2", "--", RbConfig.ruby, "-e", "sleep 0.8; warn :ended")
    expect(result.stderr).to eq("ended\n")
    expect(JSON.parse(result.stdout)["seconds"]).to be_between(0.2, 0.7)
  end

  it "counts system calls by kind, in a separate pass", skip: SystemCalls.missing do
    script = "700.times { Process.getpriority(0, 0); File.stat('/') }; puts :said"
    result = profile("--json", "--exact", "--", RbConfig.ruby, "-e", script, limit: 60)
    expect(result.stderr).to eq("said\n")
    exact = JSON.parse(result.stdout, symbolize_names: true)[:exact]
    expect(exact).to include(tool: "strace", seconds: be_positive, seconds_without: be_positive)
    counts = exact[:calls].to_h { |call| [call[:name], call] }
    expect(counts["getpriority"]).to include(kind: "others", count: 700, errors: 0)
    expect(counts.values.select { |call| call[:kind] == "files" }.sum { |call| call[:count] }).to be > 700
    expect(counts["write"]).to include(kind: "reading and writing")
  end

  it "counts the system calls of a running process, and detaches from it", skip: SystemCalls.missing do
    sleeper = spawn(RbConfig.ruby, "-e", "loop { sleep 0.01 }")
    result = profile("--pid", sleeper, "--exact", "--seconds", "0.5")
    expect(result.stdout).to match(/^System calls\n  \d+ in a pass by strace, which took .*futex \d+/m)
    eventually { File.read("/proc/#{sleeper}/status")[/^TracerPid:\s*(\d+)/, 1] == "0" }
  ensure
    Process.kill(:KILL, sleeper)
    Process.wait(sleeper)
  end

  it "says that it has not counted system calls when strace is not installed" do
    result = profile("--exact", "--", RbConfig.ruby, "-e", "sleep 0.1", env: { "PATH" => "/nowhere" })
    expect(result.stdout).to include("System calls\n  strace is not installed here, so system calls were not counted")
    expect(result.status.exitstatus).to eq(0)
  end

  it "profiles a running process until it ends, or until Ctrl-C" do
    ending = Process.detach(spawn("sleep", "2"))
    expect(profile("--pid", ending.pid).stdout).to include("asleep")
    ending.join
    sleeper = spawn("sleep", "60")
    result = profile("--pid", sleeper, "--rate", "50") do |program|
      eventually { seen?(program.pid, sleeper) }
      program.signal(:INT)
    end
    expect(result.status.exitstatus).to eq(0)
    expect(result.stdout).to include("uring_io profile: sleep 60")
  ensure
    Process.kill(:KILL, sleeper)
    Process.wait(sleeper)
  end

  # Whether a process has files of /proc about another process open.
  def seen?(pid, other)
    Dir.glob("/proc/#{pid}/fd/*").any? { |link| File.readlink(link).start_with?("/proc/#{other}/") }
  rescue SystemCallError
    false
  end

  it "reports wrong usage and invalid targets with a message, without a backtrace" do
    gone = spawn("true").tap { |pid| Process.wait(pid) }
    {
      [] => /a command or --pid is missing/, ["--pid", gone] => /there is no process #{gone}/,
      ["--pid", "1", "true"] => /both a command and --pid/, ["--rate", "0", "true"] => /the rate must be .*, 0 given/,
      ["--seconds", "-1", "true"] => /the seconds must be .*, -1.0 given/,
      ["--nonsense", "true"] => /invalid option: --nonsense/,
      ["--pid", "x"] => /invalid argument: --pid x/
    }.each do |arguments, message|
      result = profile(*arguments)
      expect(result.stderr.lines.first).to match(/\Auring_io: .*#{message}/)
      expect(result.stderr).not_to include("command_line.rb")
      expect(result.status.exitstatus).to eq(2)
      expect(result.stdout).to eq("")
    end
    expect(profile("--", "/nowhere/at/all").status.exitstatus).to eq(127)
    expect(profile("--", "/etc/passwd").status.exitstatus).to eq(126)
  end

  it "says when it had too few samples" do
    found = recorded("sleep 0.1", options: %w[--rate 1])
    expect(found[:verdict]).to include(kind: "unknown", worth_it: false)
  end

  it "profiles a block, and leaves no thread, child or descriptor behind" do
    result = child(<<~RUBY)
      require "uring_io/profile"
      before = Dir.children("/proc/self/fd").size
      found = UringIO::Profile.run { sleep(0.6) }
      p found.verdict.kind, found.shares.of(:asleep) > 0.3, found.to_s.include?("nothing to gain")
      p Dir.children("/proc/self/fd").size - before, Thread.list.size
      begin
        UringIO::Profile.run { raise "no" }
      rescue => error
        p error.message
      end
      begin
        Process.wait
      rescue => error
        p error.class
      end
    RUBY
    expect(result.stderr).to eq("")
    expect(result.stdout.lines(chomp: true)).to eq([":asleep", "true", "true", "0", "1", '"no"', "Errno::ECHILD"])
    expect { described_class.run(rate: 0) { nil } }.to raise_error(ArgumentError, /from 1 to 1000/)
    expect { described_class.run }.to raise_error(ArgumentError, /needs a block/)
  end

  it "raises UringIO::Error for a process that is gone" do
    gone = spawn("true").tap { |pid| Process.wait(pid) }
    expect { described_class.pid(gone) }.to raise_error(UringIO::Error, /there is no process #{gone}/)
  end

  context "without /proc/PID/mem and /proc/PID/syscall" do
    it "says what it could not see" do
      skip "needs root, to profile as somebody else" unless Process.euid.zero?
      sleeper = spawn("sleep", "60")
      result = child(<<~RUBY, sleeper)
        require "uring_io/profile"
        Process::UID.change_privilege(65_534)
        begin
          puts UringIO::Profile.pid(Integer(ARGV[0]), seconds: 0.3)
        rescue UringIO::Error => error
          puts error.message
        end
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout.gsub(/\s+/, " ")).to match(/belongs to somebody else|the kernel did not say for what/)
    ensure
      if sleeper
        Process.kill(:KILL, sleeper)
        Process.wait(sleeper)
      end
    end
  end
end
