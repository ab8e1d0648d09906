# frozen_string_literal: true

require "json"
require "open3"
require "rbconfig"
require "stringio"
require "timeout"
require "uring_io/command_line"
require "uring_io/ladder"

RSpec.describe "The ladder" do
  rungs = UringIO::Ladder::RUNGS
  ring = UringIO.support.backends[:io_uring].available?
  measurable = ring ? rungs : rungs - %i[io_uring sqpoll]
  calls = { threads: %w[recv send], select: %w[recv select send], poll: %w[poll recv send],
            epoll: %w[epoll_wait recv send], io_uring: %w[io_uring_enter], sqpoll: [] }

  def climb(rungs, connections, seconds: 0.01, &) = UringIO::Ladder.climb(rungs:, connections:, seconds:, &)

  # The single run of a ladder with one rung.
  def run_of(rung, connections, **) = climb([rung], [connections], **).to_h[:runs].fetch(0)

  def each_exchange(cost, what) = cost.fetch(what).fdiv(cost.fetch(:exchanges))

  # The kernel's counts of this process's threads and descriptors. They include Rust's threads, which Ruby does not
  # know.
  def in_use = [Dir.children("/proc/self/task").size, Dir.children("/proc/self/fd").size]

  def command(*arguments, err: StringIO.new)
    out = StringIO.new
    status = UringIO::CommandLine.new(["ladder", "--seconds", "0.01", *arguments], out:, err:).run
    [status, out.string, err.string]
  end

  measurable.each do |rung|
    it "measures #{rung} with the system calls of that rung, and no others" do
      run = run_of(rung, 120)
      expect(run).to include(rung:, wanted: 120, connections: 120, active: 2, cut: nil)
      expect(run[:exchange][:calls]).to match_array(calls.fetch(rung))
      run.values_at(:turns, :together).each do |cost|
        expect(cost[:exchanges]).to be >= 10
        expect(cost[:cpu]).to be_positive
      end
      expect(each_exchange(run[:turns], :calls)).to be_within(0.1).of(calls.fetch(rung).size)
    end

    it "records the steps of an exchange on #{rung} in order, around the request and its answer" do
      exchange = run_of(rung, 1).fetch(:exchange)
      names = exchange[:steps].select { |step| step[:call] }.map { |step| step[:name] }
      expect(names.uniq).to match_array(calls.fetch(rung))
      times = exchange[:steps].flat_map { |step| step.values_at(:from, :to) }
      expect(times).to eq(times.sort)
      expect(exchange[:steps].map { |step| step[:to] }).to all(be_positive)
      expect(exchange[:steps].map { |step| step[:from] }).to all(be < exchange[:answered])
    end

    it "leaves no thread and no descriptor of #{rung} behind when somebody interrupts it" do
      before = in_use
      expect { Timeout.timeout(0.15, KeyError) { run_of(rung, 40, seconds: 60) } }.to raise_error(KeyError)
      # Timeout keeps a thread of its own.
      expect(in_use.zip(before).map { |now, then_| now - then_ }).to all(be <= 1)
    end
  end

  it "counts the same calls as the kernel", skip: SystemCalls.missing do
    counted = { poll: "poll", epoll: "epoll_wait", io_uring: "io_uring_enter", sqpoll: "io_uring_enter" }
    counted.slice(*measurable).each do |rung, name|
      _, made = SystemCalls.between_markers(<<~RUBY, rung, limit: 60)
        require "uring_io/ladder"
        rung = ARGV.first.to_sym
        Process.getpriority(Process::PRIO_PROCESS, 0)
        UringIO::Ladder.climb(rungs: [rung], connections: [5], seconds: 0.02)
        Process.getpriority(Process::PRIO_PROCESS, 0)
      RUBY
      # The client sends once per exchange, and so does the server on the rungs below io_uring.
      sent = made.count("sendto") / (%i[io_uring sqpoll].include?(rung) ? 1 : 2)
      expect(sent).to be > 25
      # There is one more call at the end, and some more for accepting.
      expect(made.count(name)).to be_between(*(rung == :sqpoll ? [0, 3] : [sent - 3, sent + 10])), rung.to_s
    end
  end

  it "shows that idle connections cost time with select and poll, but none with epoll and io_uring" do
    found = climb(measurable - %i[threads sqpoll], [10, 900], seconds: 0.1).to_h[:runs].to_h do |run|
      [run.values_at(:rung, :wanted), each_exchange(run[:turns], :cpu)]
    end
    growth = ->(rung) { found.fetch([rung, 900]) / found.fetch([rung, 10]) }
    expect(%i[select poll].map(&growth)).to all(be > 2.5)
    expect((%i[epoll io_uring] & measurable).map(&growth)).to all(be < 2.5)
  end

  it "says why select cannot serve many connections" do
    ladder = climb(%i[select], [1010, 10_000])
    expect(ladder.to_h[:runs].map(&:keys)).to eq([%i[rung wanted connections active cut turns together memory exchange],
                                                  %i[rung wanted limit]])
    expect(ladder.to_s.gsub(/\s+/, " "))
      .to match(/select: 1,00\d connections and not 1,010. The limit is select, which has no room .* \(FD_SETSIZE\)/)
      .and match(/select: not measured with 10,000 connections/)
    expect(ladder.html).to include("Not measured with 10,000 connections.")
  end

  it "raises the soft limit of open files to the hard limit while it measures, and says what the hard limit cuts" do
    result = child(<<~RUBY)
      require "uring_io/ladder"
      Process.setrlimit(:NOFILE, 40, 200)
      ladder = UringIO::Ladder.climb(rungs: %i[epoll], connections: [100, 300, 4000], seconds: 0.01)
      runs = ladder.to_h[:runs]
      p runs.map { |run| [run[:connections], run.dig(:cut, :cause), run.dig(:limit, :cause)] }
      p Process.getrlimit(:NOFILE)
      puts ladder.to_s.gsub(/\\s+/, " ")[/epoll: not measured.*?[.]/]
    RUBY
    first, soft, words = result.stdout.lines
    # Ruby itself has some descriptors open.
    expect(first).to match(/\A\[\[100, nil, nil\], \[1[5-9]\d, :descriptors, nil\], \[nil, nil, :descriptors\]\]/)
    expect(soft).to eq("[40, 200]\n")
    expect(words).to eq("epoll: not measured with 4,000 connections.\n")
    expect(result.stderr).to eq("")
  end

  it "reports that the kernel makes no ring, and measures the other rungs", skip: Seccomp.missing do
    result = child(<<~RUBY)
      #{Seccomp.denying_io_uring(Errno::EPERM::Errno)}
      require "uring_io/ladder"
      ladder = UringIO::Ladder.climb(connections: [2], seconds: 0.01)
      puts ladder.to_h[:runs].select { |run| run[:limit] }.map { |run| [run[:rung], run[:limit][:cause]].join(" ") }
      puts ladder.to_s.lines.grep(/sqpoll: not measured/)
      ladder.html
      ladder.pictures
    RUBY
    expect(result.stdout.lines.map(&:strip)).to start_with("io_uring ring", "sqpoll ring")
    expect(result.stdout).to include("sqpoll: not measured with 2 connections.")
  end

  it "lets other threads and signal handlers run, and goes on" do
    count = 0
    counting = Thread.new { loop { (count += 1) && Thread.pass } }
    handled = 0
    before = trap("USR1") { handled += 1 }
    Thread.new { sleep(0.05) && Process.kill(:USR1, Process.pid) }
    run = run_of(:epoll, 2, seconds: 0.2)
    expect(run[:turns][:exchanges]).to be >= 10
    expect([count, handled]).to match([be > 100, 1])
  ensure
    counting.kill.join
    trap("USR1", before)
  end

  it "reports the next measurement, and its progress" do
    parts = []
    climb(%i[poll epoll], [1, 2]) { |*part| parts << part }
    expect(parts).to eq([[:poll, 1, 0, 4], [:epoll, 1, 1, 4], [:poll, 2, 2, 4], [:epoll, 2, 3, 4]])
  end

  it "begins with the fewest connections, and measures each number once" do
    ladder = climb(%i[poll], [900, 3, 900, 40])
    expect(ladder.to_h[:runs].map { |run| run[:wanted] }).to eq([3, 40, 900])
    expect(ladder.to_s).to match(/^connections +3 +40 +900$/)
    expect(ladder.html).to match(/ 3 connections.* 900 connections/m)
  end

  it "refuses wrong arguments with clear messages" do
    { { rungs: [] } => /rungs: is empty/, { rungs: [:kqueue] } => /rungs: there is no :kqueue; there are threads, /,
      { connections: [] } => /connections: is empty/, { connections: [0] } => /connections: 0 is not from 1 to 60000/,
      { connections: ["10"] } => /connections: "10" is not/, { connections: [70_000] } => /70000 is not/,
      { seconds: 0 } => /seconds: 0 is not above 0, and 60 at most/, { seconds: "1" } => /seconds: "1"/,
      { seconds: Float::NAN } => /seconds: NaN/, { seconds: 61 } => /seconds: 61/ }.each do |arguments, message|
      expect { UringIO::Ladder.climb(**arguments) }.to raise_error(ArgumentError, message)
    end
  end

  describe "as a command" do
    let(:path) { free_path("ladder.html") }

    it "prints a table of all rungs, and writes a page that loads nothing and well-formed pictures" do
      folder = free_path("pictures")
      status, text, err = command("--connections", "1,150", "--html", path, "--svg", folder)
      expect([status, err]).to eq([0, ""])
      expect(text.lines.map { |line| line.chomp.size }).to all(be <= 84)
      expect(text).to include("Processor time of an exchange", "  epoll     epoll_wait, recv, send")
      page = File.read(path)
      expect(page.scan("<section").size).to eq(rungs.size)
      # One picture per exchange, two more with the most connections, and four curves.
      expect(page.scan("<svg").size).to eq(measurable.size + 2 + 4)
      expect(page).not_to match(/(?:src|href)=["'](?!#)|url\(|@import|<script/)
      names = Dir.children(folder)
      expect(names).to include("ladder-epoll.svg", "ladder-poll-crowded.svg", "ladder-processor.svg")
      names.each { |name| expect_well_formed(File.read(File.join(folder, name))) }
    end

    # Expects every element to end in order. Nothing else could go wrong in such an image.
    def expect_well_formed(text)
      open = []
      text.scan(%r{<(/?)(\w+)[^<>]*?(/?)>}) do |ending, name, alone|
        next if alone == "/"

        ending.empty? ? open.push(name) : expect(open.pop).to(eq(name))
      end
      expect(open).to eq([])
      expect(text).to start_with("<svg xmlns=")
      expect(text).not_to match(/NaN|Infinity|&(?!\w+;|#\d+;)/)
    end

    it "prints only JSON, with its version" do
      status, text, err = command("--json", "--connections", "1")
      expect([status, err]).to eq([0, ""])
      found = JSON.parse(text)
      expect(found).to include("version" => 1, "bytes" => 64, "seconds" => be_positive,
                               "machine" => include("kernel", "processors", "open_files"))
      expect(found["runs"].map { |run| run["rung"] }).to eq(rungs.map(&:to_s))
      again = UringIO::Ladder.new(JSON.parse(text, symbolize_names: true))
      expect(again.to_json).to eq(text)
      expect(again.html).to include("A thread for each connection")
    end

    it "shows its progress on a terminal, and removes it afterwards" do
      err = StringIO.new
      def err.tty? = true
      command("--connections", "1", err:)
      expect(err.string).to include("3 of 6: poll, 1 connections").and end_with("\r\e[K")
    end

    it "reports wrong usage, and a file that it cannot write, before it measures" do
      expect(command("--html", "/no/such/page.html"))
        .to eq([2, "", "uring_io: --html: /no/such/page.html cannot be written: No such file or directory\n"])
      expect(command("--svg", "/dev/null"))
        .to eq([2, "", "uring_io: --svg: /dev/null cannot be made: File exists\n"])
      [[%w[--connections ten], /invalid value/], [%w[--connections 0], /0 is not from 1/],
       [%w[--seconds 0], /0\.0 is not above 0/], [%w[--fast], /invalid option/], [%w[--html], /missing argument/],
       [%w[extra], /unknown argument "extra"/]].each do |arguments, message|
        expect(command(*arguments)).to match([2, "", message])
      end
      expect(command("--help")).to match([0, /Usage: uring_io ladder/, ""])
    end

    it "ends at Ctrl-C with a message" do
      program = File.expand_path("../../exe/uring_io", __dir__)
      Open3.popen3(RbConfig.ruby, program, "ladder", "--json", "--connections", "10") do |_, out, err, process|
        # The ladder has begun once the thread of its client is there.
        tasks = -> { Dir["/proc/#{process.pid}/task/*/comm"].map { |file| File.read(file).chomp } rescue [] } # rubocop:disable Style/RescueModifier
        sleep(0.01) until tasks.call.include?("ladder-client")
        Process.kill(:INT, process.pid)
        expect([process.value.exitstatus, out.read]).to eq([130, ""])
        expect(err.read).to eq("uring_io: the ladder was interrupted before all was measured\n")
      end
    end
  end
end
