# frozen_string_literal: true

require "json"
require "rbconfig"
require "uring_io/command_line"
require "uring_io/inspection/question"
require "uring_io/inspection/report"

# Tests `uring_io fibers`, and the socket by which it asks other programs.
RSpec.describe "The fibers of another program" do
  let(:folder) { File.dirname(free_path) }
  let(:environment) { { "URING_IO_INSPECT" => "1", "XDG_RUNTIME_DIR" => folder } }

  # Runs the script until it has printed a line. The block may then ask it.
  def asking(script)
    child(script, env: environment, limit: 60) do |program|
      program.gets
      yield program.pid
    ensure
      # Kills the program's forked children as well.
      Process.kill(:KILL, -program.pid)
    end
  end

  def fibers(*arguments)
    out, err = Array.new(2) { StringIO.new }
    status = UringIO::CommandLine.new(["fibers", *arguments.map(&:to_s)], out:, err:).run
    [status, out.string, err.string]
  end

  def answer(pid) = JSON.parse(fibers("--json", "--pid", pid)[1], symbolize_names: true)

  def socket_of(pid) = File.join(folder, "uring_io-#{pid}.socket")

  each_backend do |backend|
    it "appear with their waits, even while one of them computes" do
      asking(<<~RUBY) do |pid|
        queue = Queue.new
        reader, = IO.pipe
        def compute = loop { nil }
        UringIO.run(backend: :#{backend}) do
          Fiber.schedule { reader.read(1) }
          2.times { Fiber.schedule { queue.pop } }
          puts reader.fileno
          compute
        end
      RUBY
        status, text, complaint = fibers("--pid", pid)
        expect([status, complaint]).to eq([0, ""])
        expect(text).to start_with("Process #{pid}: ")
          .and match(/^Thread main: run\n(    .*\n)*    .*compute/)
          .and match(/^#<UringIO::Scheduler:0x\h+> on #{backend}: \d fibers wait$/)
          .and match(/^  #<Fiber:0x\h+> waits in io_read on \d+ \(pipe\).*\n    .*io_read/)
          .and match(/(^  #<Fiber:0x\h+> waits in block on #<Thread::Queue:0x\h+>.*\n){2}(    .*\n)*    .*pop/)
        expect(text).not_to include("suspended by something else")
      end
    end
  end

  it "appear for a program that has only just started" do
    child("UringIO.run { sleep }", env: environment, limit: 60) do |program|
      # Before exec, the process has the environment of its parent.
      eventually { File.read("/proc/#{program.pid}/environ").include?("URING_IO_INSPECT") }
      expect(fibers("--pid", program.pid)).to match([0, start_with("Process #{program.pid}: "), ""])
      program.signal(:KILL)
    end
  end

  it "appear with the program's own lines, however deep these are below lines of libraries" do
    library = Array.new(20) { |number| "/usr/lib/ruby/3.3.0/net/http.rb:#{number}:in `get'" }
    backtrace = [*library, "/srv/app/fetch.rb:7:in `fetch'", *library.first(3), "/srv/app/fetch.rb:12:in `each'"]
    wait = { text: "it waits", backtrace:, ready: false, hook: "io_wait", calls: [] }
    found = { pid: 1, program: "x", ruby: "3.3", uring_io: "0.1", threads: [], others: [],
              loops: [{ name: "it", backend: "epoll", waits: [wait] }] }
    lines = UringIO.const_get(:Inspection)::Report.new(found).to_s.lines.grep(/^    /).map(&:strip)
    expect(lines.first(5)).to eq(library.first(5))
    expect(lines.drop(5)).to eq(["... 15 more", backtrace[20], "... 3 more", backtrace.last])
  end

  it "appear as JSON, with threads, and with fibers outside of any scheduler" do
    asking(<<~RUBY) do |pid|
      Thread.new { sleep }.name = "sleeper"
      other = Fiber.new { Fiber.yield }
      other.resume
      UringIO.run { Fiber.schedule { sleep(100) }; puts; sleep(100); other }
    RUBY
      found = answer(pid)
      expect(found).to include(version: 1, pid:, ruby: RUBY_VERSION, uring_io: UringIO::VERSION)
      expect(found[:threads].map { |thread| thread[:name] }).to contain_exactly("main", "sleeper")
      wait = found[:loops].first[:waits].first
      expect(wait).to include(hook: "kernel_sleep", seconds_left: be_within(20).of(90), ready: false)
      expect(found[:others].map { |fiber| fiber[:backtrace].first }).to contain_exactly(a_string_including("yield"))
    end
  end

  it "have a socket that only the user may use, and that is gone after the program" do
    path = nil
    result = child("puts; $stdin.read; UringIO.run { sleep(0.1) }", env: environment) do |program|
      program.gets
      path = socket_of(program.pid)
      expect(File.stat(path)).to have_attributes(socket?: true, mode: 0o140600)
      expect(Dir.children(folder)).to eq([File.basename(path)])
    end
    expect([result.stderr, File.exist?(path)]).to eq(["", false])
  end

  it "of a forked child have a socket of their own" do
    asking(<<~RUBY) do |pid|
      first = fork { UringIO.run { Fiber.schedule { sleep }; sleep } }
      exit!(1) unless Process.wait2(fork { nil }).last.success?
      puts
      UringIO.run { sleep(100) }
    RUBY
      # A process makes its socket in a folder of its own, and gives it the final name when it is complete.
      forked = nil
      eventually do
        forked = Dir.children(folder).filter_map { |name| name[/\Auring_io-(\d+)\.socket\z/, 1]&.to_i } - [pid]
        forked.size == 1
      end
      eventually { answer(forked.first)[:loops].any? { |found| found[:waits].size == 2 } }
      expect(answer(pid)[:loops].first[:waits].size).to eq(1)
    end
  end

  it "have no thread and no socket without the variable" do
    result = child("puts Thread.list.size, UringIO.const_defined?(:Inspection)",
                   env: environment.merge("URING_IO_INSPECT" => nil))
    expect([result.stdout, Dir.children(folder)]).to eq(["1\nfalse\n", []])
  end

  it "still run, with a warning, when the socket cannot be opened" do
    long = File.join(folder, "x" * 100)
    Dir.mkdir(long)
    result = child("UringIO.run { puts 1 }", env: environment.merge("XDG_RUNTIME_DIR" => long))
    expect(result.stdout).to eq("1\n")
    expect(result.stderr).to match(/\Auring_io: URING_IO_INSPECT: .* cannot be opened, so nobody can ask/)
  end

  describe "of a program that gives no answer because" do
    def complaint(*arguments)
      status, out, err = fibers(*arguments)
      expect([status, out]).to eq([2, ""])
      err.lines.first.chomp
    end

    it "the arguments are wrong" do
      expect(complaint).to eq("uring_io: fibers: --pid is missing; see uring_io fibers --help")
      expect(complaint("--pid", "x")).to include("invalid argument: --pid x")
      expect(complaint("--pid", 1, "more")).to include("unknown argument \"more\"")
      expect(complaint("--pid", -1)).to eq("uring_io: --pid needs the number of a process, and -1 is none")
    end

    it "there is no such process" do
      gone = Process.wait(Process.spawn("true"))
      [gone, 10**30].each { |pid| expect(complaint("--pid", pid)).to eq("uring_io: there is no process #{pid}") }
    end

    it "somebody started it without the variable" do
      expect(complaint("--pid", Process.pid)).to include("was started without URING_IO_INSPECT=1: start it with that")
    end

    it "it has run another program since" do
      child("puts; $stdout.flush; exec('sleep', '100')", env: environment) do |program|
        program.gets
        # In the middle of exec, a process has its new name, no environment yet, and sockets that exec closes only when
        # it is done. A client that connects before that gets the advice to ask again.
        eventually { File.read("/proc/#{program.pid}/comm") == "sleep\n" }
        eventually { File.read("/proc/#{program.pid}/environ").include?("URING_IO_INSPECT") }
        eventually { complaint("--pid", program.pid).include?("nobody listens at #{socket_of(program.pid)}") }
        program.signal(:KILL)
      end
    end

    it "it is stopped" do
      asking("puts; sleep") do |pid|
        Process.kill(:STOP, pid)
        eventually { File.read("/proc/#{pid}/status").match?(/^State:\s+T/) }
        question = UringIO.const_get(:Inspection)::Question.new(pid, patience: 0.2)
        expect { question.answer }.to raise_error(UringIO::Error, /has not answered for 0.2 seconds: it is stopped/)
      end
    end

    it "it answers late: the asking user learns why meanwhile, and then how late it was" do
      asking("puts; sleep") do |pid|
        Process.kill(:STOP, pid)
        eventually { File.read("/proc/#{pid}/status").match?(/^State:\s+T/) }
        why = nil
        answer = UringIO.const_get(:Inspection)::Question.new(pid, late: 0.01).answer do |text|
          why = text
          Process.kill(:CONT, pid)
        end
        expect(why).to match(/\Aprocess #{pid} has not answered yet: it is stopped/)
        expect(answer).to include(pid:, late: be > 0.01)
        expect(UringIO.const_get(:Inspection)::Report.new(answer).to_s).to match(/^It answered after \d+\.\d s\. Until/)
      end
    end

    it "it ends before it has answered" do
      server = closing(UNIXServer.new(socket_of(Process.pid)))
      answering = Thread.new { server.accept.tap { |socket| socket.write("{\"version\"") }.close }
      question = UringIO.const_get(:Inspection)::Question.new(Process.pid)
      before = ENV.fetch("XDG_RUNTIME_DIR", nil)
      ENV["XDG_RUNTIME_DIR"] = folder
      expect { question.answer }.to raise_error(UringIO::Error, /broke its answer off after 10 bytes/)
    ensure
      ENV["XDG_RUNTIME_DIR"] = before
      answering&.join
    end
  end

  it "send no control characters to a terminal" do
    asking("Thread.current.name = \"\\e[31mred\"; puts; sleep") do |pid|
      expect(fibers("--pid", pid)[1]).to include("Thread ?[31mred: sleep")
    end
  end
end
