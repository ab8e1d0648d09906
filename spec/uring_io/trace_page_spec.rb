# frozen_string_literal: true

require "json"
require "rbconfig"
require "rexml/document"
require "uring_io/html"
require "uring_io/trace/page"

# Checks the content of a trace's page and picture. spec/browser checks their look.
RSpec.describe "The page of a trace" do
  trace_class = UringIO::Trace
  part = ->(name) { trace_class.module_eval(name, __FILE__, __LINE__) }
  words = part["Words"]
  reading = part["Reading"]

  # A recording made by hand: times in milliseconds, and the runs and waits of each fiber.
  recorded = Struct.new(:backend, :gone, :fibers, :enters, :operations, :collections) do
    def self.of(fibers, enters: [], operations: [], collections: [])
      new(:io_uring, 0, fibers, enters, operations, collections)
    end
  end
  ms = ->(number) { (number * 1_000_000).round }
  fiber = lambda do |number, name, runs, waits = []|
    reading::Fiber.new(number, name, runs.map { |from, to| [ms[from], ms[to]] }, waits, [], [], nil)
  end
  operation = lambda do |name, peer, bytes, from, to, result|
    reading::Operation.new(nil, name, 5, peer, bytes, ms[from], to && ms[to], result)
  end
  wait = lambda do |from, to, purpose: "", operations: [], woken: nil, open: false|
    reading::Wait.new(ms[from], ms[to], purpose, operations, woken && ms[woken], open, 0)
  end
  read = ->(from, to, result, peer: "socket 127.0.0.1:5432") { operation["read", peer, 512, from, to, result] }
  lists = ->(*fibers, **options) { part["Lists"].new([part["Order"].new(recorded.of(fibers, **options))]) }
  sentences = ->(rows) { rows.map(&:sentence) }

  def enter(from, to, submissions: 1, locked: 0)
    UringIO::Trace.module_eval("Reading", __FILE__, __LINE__)::Enter.new(
      *[from, to].map { |number| (number * 1_000_000).round }, submissions, (locked * 1_000_000).round
    )
  end

  each_backend do |_backend|
    it "describes an operation that was called off before it began" do
      trace = UringIO.trace do
        scheduled { with_ring { |ring| raised { Timeout.timeout(0.01) { ring.timeout(60) } } } }
      end
      expect(trace.html).to include("called off")
      expect(trace.svg).to start_with("<svg")
    end
  end

  it "prints durations with three digits" do
    found = [0, 850, 1_000, 1_340, 20_400, 99_960, 320_400, 1_300_000, 200_040_000, 1_250_000_000, 61_000_000_000]
            .map { |number| words.duration(number) }
    expect(found).to eq(["0 ns", "850 ns", "1 µs", "1.34 µs", "20.4 µs", "100 µs", "320 µs", "1.3 ms", "200 ms",
                         "1.25 s", "61 s"])
  end

  it "names the fiber that ran long, and counts the others that could have run" do
    sleepers = (2..4).map do |number|
      fiber[number, "/app/client.rb:8", [[0, 0.1], [201 + number, 202 + number]],
            [wait[0.1, 201 + number, purpose: "sleep", woken: 200.25]]]
    end
    late = fiber[5, "/app/late.rb:1", [[230, 231]], [wait[0.1, 230, operations: [read[0.1, 229, 512]]]]]
    found = lists[fiber[1, "/app/server.rb:12", [[0.2, 200.2]]], *sleepers, late,
                  enters: [enter(200.3, 200.31), enter(206.5, 229)]]
    expect(found.verdict.first).to eq("Fiber 1 (server.rb:12) ran for 200 ms without a pause: 3 others waited for it.")
    expect(found.runs.first).to have_attributes(engine: 0, fiber: 1, from: 200_000, took: 200_000_000, alike: nil)
    expect(found.runs.map(&:alike)).to include("6 like it took 3.3 ms in all")
    expect(sentences[found.waits])
      .to include("Fiber 4 (client.rb:8) slept; that was over 200 ms later or before (nobody looked while fiber 1 " \
                  "(server.rb:12) ran for 200 ms); it ran 4.75 ms after that because 2 others were first (fiber 2 " \
                  "(client.rb:8) for 1 ms).")
  end

  it "distinguishes fibers whose block it does not know, and several schedulers" do
    two = Array.new(2) { |index| recorded.of([fiber[1, "", [[0, 2]]], fiber[2, "", [[3, 4 + index]]]]) }
    trace = trace_class.allocate
    trace.instance_variable_set(:@engines, two)
    expect(trace.html.scan(/Fiber \d ran.*At.*(?=\.<)/).map { |row| row.gsub(/<.*?>/, "") })
      .to eq(["Fiber 1 ran for 2 ms without a pause. At 0 ns, on io_uring 1",
              "Fiber 1 ran for 2 ms without a pause. At 0 ns, on io_uring 2",
              "Fiber 2 ran for 2 ms without a pause. At 3 ms, on io_uring 2",
              "Fiber 2 ran for 1 ms without a pause. At 3 ms, on io_uring 1"])
  end

  it "says that a system call began late when the ring submitted it late" do
    write = operation["write", "socket 127.0.0.1:80", 6, 1, 12, 6]
    found = lambda do |*enters|
      waiting = fiber[1, "a.rb:1", [[0, 1], [12.5, 13]], [wait[1, 12.5, operations: [write]]]]
      sentences[lists[waiting, fiber[2, "b.rb:2", [[1.5, 11.5]]], enters:].waits].first
    end
    expect(found[enter(11.6, 11.7)])
      .to include("the kernel took them 11 ms later (it was asked only when fiber 2 (b.rb:2) had run for 10 ms); it")
    expect(found[enter(1.1, 1.2), enter(11.6, 11.7)])
      .to include("the kernel took them 11 ms later or before (nobody looked while fiber 2 (b.rb:2) ran for 10 ms); it")
  end

  it "says what a fiber asked for, when the kernel had it, and why the fiber did not run sooner" do
    asking = fiber[3, "/app/query.rb:4", [[0, 1], [2.32, 2.4]], [wait[1, 2.32, operations: [read[1, 2.3, 512]]]]]
    found = lists[asking, fiber[7, "/app/other.rb:9", [[1.1, 1.2], [2.299, 2.319]]], enters: [enter(1.3, 2.29)]]
    expect(sentences[found.waits])
      .to eq(["Fiber 3 (query.rb:4) asked for 512 bytes from 127.0.0.1:5432; the kernel had them 1.3 ms later; it " \
              "ran 20 µs after that because fiber 7 (other.rb:9) was running."])
    expect(sentences[found.delays])
      .to eq(["Fiber 3 (query.rb:4) was ready to go on and ran 20 µs later because fiber 7 (other.rb:9) was running; " \
              "it had asked for 512 bytes from 127.0.0.1:5432."])
    expect(found.verdict).to eq(["No fiber kept others waiting for long: the longest run without a pause took 1 ms."])
  end

  it "describes every outcome of a wait" do
    ends = {
      [operation["read", "pipe", 9, 1, 2, 0]] => "asked for 9 bytes from a pipe; the end of the input came 1 ms later",
      [operation["write", "socket /run/x", 2000, 1, 2, 1500]] =>
        "sent 2,000 bytes to /run/x; the kernel took 1,500 of them 1 ms later",
      [operation["poll", "socket", 0, 1, 2, -Errno::ECANCELED::Errno]] =>
        "waited until a socket was ready; it was called off 1 ms later",
      [operation["connect", nil, 0, 1, 2, -Errno::ECONNREFUSED::Errno]] =>
        "asked for a connection; the kernel refused it (ECONNREFUSED) 1 ms later",
      [operation["fsync", "/data/file", 0, 1, 2, 0]] =>
        "asked for fsync /data/file; the kernel had done it 1 ms later",
      [operation["nop", nil, 0, 1, 1.5, 0], *Array.new(2) { operation["read", "pipe", 1, 1, 2, 1] }] =>
        "asked for nop descriptor 5, 2 × read a pipe; the last of them was done 1 ms later"
    }
    ends.each do |operations, expected|
      found = lists[fiber[1, "a.rb:1", [[0, 1], [2.5, 3]], [wait[1, 2.5, operations:]]]]
      expect(sentences[found.waits]).to eq(["Fiber 1 (a.rb:1) #{expected}; it ran 500 µs after that."])
    end
    stuck = lists[fiber[1, "", [[0, 1]], [wait[1, 3001, purpose: "block", open: true]]]]
    expect(sentences[stuck.waits])
      .to eq(["Fiber 1 waited for a lock, a queue or a thread; it still waited when the recording ended, 3 s later."])
  end

  it "blames another thread or the garbage collector when that was the cause" do
    found = lists[fiber[1, "a.rb:1", [[0, 10], [20, 21]], [wait[10, 20, operations: [read[10, 12, 1]]]]],
                  enters: [enter(10, 12, locked: 7.9)], collections: [[ms[2], ms[6]]]]
    expect(sentences[found.waits].first).to end_with("it ran 8 ms after that because another thread had Ruby's lock.")
    expect(sentences[found.runs].first).to eq("Fiber 1 (a.rb:1) ran for 10 ms without a pause; 4 ms of that were the " \
                                              "garbage collector's.")
  end

  describe "of a program" do
    let(:backend) { Backends::CHOSEN.first }
    let(:trace) do
      reader, writer = pipe
      UringIO.trace do
        UringIO.run(backend:) do
          Fiber.schedule { reader.read(3) }
          sleep(0.002)
          writer.write("abc")
          nil until writer.closed? || writer.close
        end
      end
    end

    # Turns rows of numbers into columns. The first number of a row is the time since the row before.
    def columns(rows, width)
      from, *others = rows.each_slice(width).to_a.transpose
      sum = 0
      [(from || []).map { |gap| sum += gap }, *others]
    end

    it "loads nothing, and shows its lists and a picture without JavaScript" do
      html = trace.html
      expect(html).not_to match(%r{<link|<img|<iframe|src=|https?:(?!//www\.w3\.org)|url\(|@import})
      expect(html).to include("default-src 'none'")
      expect(html.scan(%r{<h2[^>]*>(.*?)</h2>}).flatten)
        .to eq(["What kept others waiting", "Longest runs without a pause", "Longest waits", "Ready, but not running",
                "What happened when"])
      expect(html).to match(%r{<th scope="col">what</th>.*asked for 3 bytes from a pipe; the kernel had them}m)
      expect(html).to include('<svg xmlns="http://www.w3.org/2000/svg"', '<path class="pipe"', "<i class=\"pipe\">")
    end

    it "contains the numbers of the recording" do
      json = trace.html[%r{<script type="application/json" id="trace">(.*?)</script>}m, 1]
      data = JSON.parse(json, symbolize_names: true)
      engine = data[:engines].first
      recorded = trace.engines.first
      expect(engine[:fibers].map(&:first)).to eq(recorded.fibers.map(&:number))
      start = recorded.fibers.flat_map { |it| it.runs.map(&:first) + it.waits.map(&:from) }.min
      recorded.fibers.each_with_index do |it, index|
        from, length = columns(engine[:runs][index], 2)
        expect(from).to eq(it.runs.map { |run| run.first - start })
        expect(length || []).to eq(it.runs.map { |first, last| last - first })
        waits = columns(engine[:waits][index], 9)
        expect(waits.first).to eq(it.waits.map { |one| one.from - start })
        kinds = (waits[2] || []).map { |kind| data[:kinds][kind].first.to_sym }
        expect(kinds).to eq(it.waits.map { |one| words.kind(one) })
      end
      expect(columns(engine[:depths], 2)[1].last).to eq(0)
    end

    it "contains a picture that is a small XML document of its own" do
      svg = trace.svg
      document = REXML::Document.new(svg)
      expect(document.root.attributes["viewBox"]).to match(/\A0 0 \d+ \d+\z/)
      labels = REXML::XPath.match(document, "//text").map(&:text)
      expect(labels).to include("in the kernel", "runs", "waits for a pipe", a_string_starting_with("1 main"))
      expect(svg.bytesize).to be < 40_000
    end

    it "is written to a file whose name ends in .html, and a picture to one that ends in .svg" do
      paths = %w[x.html x.svg x.json].map { |name| free_path(name) }
      paths.each { |path| trace.write(path) }
      expect(paths.map { |path| File.read(path, 9) }).to eq(["<!DOCTYPE", "<svg xmln", "{\"traceEv"])
    end
  end

  it "says so when nothing was recorded" do
    trace = UringIO.trace { nil }
    expect(trace.html).to include("No fiber ran.")
    expect(REXML::Document.new(trace.svg).root.name).to eq("svg")
  end

  it "escapes markup in the names of a program" do
    name = "</script><b>&'\""
    waits = [wait[2, 4, operations: [read[2, 3, 1, peer: "socket #{name}"]]]]
    trace = trace_class.allocate
    trace.instance_variable_set(:@engines, [recorded.of([fiber[1, name, [[0, 2]], waits]])])
    expect(trace.html.scan("</script>").size).to eq(2)
    expect(trace.html).not_to include("<b>")
    titles = REXML::XPath.match(REXML::Document.new(trace.svg), "//title")
    expect(titles.map(&:text)).to include(a_string_including(name))
  end

  it "is written by uring_io trace --html FILE, which insists on a name that ends in .html" do
    executable = File.expand_path("../../exe/uring_io", __dir__)
    run = ->(*arguments) { child("exec(RbConfig.ruby, \"-W1\", #{executable.dump}, \"trace\", *ARGV)", *arguments) }
    path = free_path("page.html")
    result = run["--html", path, "--", RbConfig.ruby, "-I", ChildProgram::LIB, "-e",
                 "require \"uring_io\"; UringIO.run { sleep(0.001) }"]
    expect([result.status.exitstatus, result.stderr]).to eq([0, ""])
    expect(File.read(path)).to include("<h1>Trace of <code>-e</code></h1>")
    expect(run["--html", "page", "true"].stderr)
      .to start_with("uring_io: trace: --html page: the name of a page ends in .html; see uring_io trace --help\n")
  end
end
