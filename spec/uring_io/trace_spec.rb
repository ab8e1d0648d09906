# frozen_string_literal: true

require "json"
require "rbconfig"
require "uring_io/command_line"

RSpec.describe "A trace" do
  # The reading of the only engine.
  def traced(&)
    trace = UringIO.trace { scheduled(&) }
    expect(trace.engines.size).to eq(1)
    trace.engines.first
  end

  def fiber_at(reading, line) = reading.fibers.find { |fiber| fiber.name == "#{__FILE__}:#{line}" }

  # The waits of a fiber in order, without those for its turn.
  def waits(fiber)
    fiber.waits.reject { |wait| wait.purpose == "turn" }.map do |wait|
      wait.operations.empty? ? wait.purpose : wait.operations.map(&:name).join("+")
    end
  end

  # Expects that each two slices of a track are nested or apart.
  def expect_nested(text)
    events = JSON.parse(text, symbolize_names: true).fetch(:traceEvents)
    slices = events.select { |event| event[:ph] == "X" && event[:tid].positive? }
    expect(slices).not_to be_empty
    slices.group_by { |event| event.values_at(:pid, :tid) }.each_value do |track|
      stack = []
      track.sort_by { |event| [event[:ts], -event[:dur]] }.each do |event|
        stack.pop while stack.any? && stack.last <= event[:ts] + 0.0005
        finish = event[:ts] + event[:dur]
        expect(finish).to be <= stack.last + 0.0005 if stack.any?
        stack << finish
      end
    end
    events
  end

  each_backend do |backend|
    it "lists in order what a client and a server waited for, with peers and results" do
      server = tcp_server
      place = server.local_address.inspect_sockaddr
      line = nil
      reading = traced do
        line = __LINE__ + 1
        Fiber.schedule { server.accept.then { |client| client.write(client.readpartial(9)) && client.close } }
        Fiber.schedule { server.local_address.connect { |client| client.write("hello") && client.read } }
      end
      serving, asking = [line, line + 1].map { |number| fiber_at(reading, number) }
      expect(waits(serving).first(2)).to eq(%w[poll read])
      expect(serving.waits.flat_map(&:operations).first).to have_attributes(
        peer: "socket #{place}", descriptor: server.fileno, result: 1
      )
      reads = reading.operations.select { |operation| operation.name == "read" }
      expect(reads.map { |operation| [operation.fiber, operation.peer == "socket #{place}", operation.result] })
        .to eq([[serving, false, 5], [asking, true, 5], [asking, true, 0]])
      writes = reading.operations.select { |operation| operation.name == "write" }
      expect(writes.map { |operation| [operation.fiber, operation.result] }).to eq([[asking, 5], [serving, 5]])
    end

    it "records who slept, who was unblocked, and that one fiber ran while another was ready" do
      queue = Queue.new
      line = nil
      reading = traced do
        line = __LINE__ + 1
        Fiber.schedule { queue.pop }
        Fiber.schedule do
          sleep(0.01)
          queue << 1
          finish = monotonic + 0.05
          nil while monotonic < finish
        end
      end
      popping, computing = [line, line + 1].map { |number| fiber_at(reading, number) }
      expect([waits(popping), waits(computing)]).to eq([%w[block], %w[sleep]])
      longest = reading.fibers.max_by { |fiber| fiber.runs.map { |from, to| to - from }.max }
      expect(longest).to be(computing)
      wait = popping.waits.first
      expect(wait.to - wait.woken).to be > 40_000_000
    end

    it "becomes JSON with nested slices, and an arrow from each operation to its end" do
      reader, writer = pipe
      trace = UringIO.trace do
        scheduled do
          Fiber.schedule { reader.read(1) }
          sleep(0)
          writer.syswrite("x")
          Timeout.timeout(0.01) { sleep } rescue Timeout::Error # rubocop:disable Style/RescueModifier
        end
      end
      events = expect_nested(trace.to_json)
      starts, ends = %w[s f].map { |kind| events.select { |event| event[:ph] == kind }.map { |event| event[:id] } }
      expect(starts).not_to be_empty
      expect(starts).to match_array(ends)
      expect(events.map { |event| event[:name] }).to include("an exception is raised in it", "read pipe")
    end

    it "contains the path of a UNIX socket, whatever its bytes" do
      path = "#{free_path}-\u00fc-\xff".b
      server = closing(UNIXServer.new(path))
      trace = UringIO.trace do
        scheduled do
          Fiber.schedule { server.accept.close }
          UNIXSocket.open(path, &:close)
        end
      end
      name = path.dup.force_encoding(Encoding::UTF_8).scrub
      expect(JSON.parse(trace.to_json).to_s).to include("poll socket #{name}")
    end

    it "lists the calls of batches and chains under the fiber that made them" do
      path = file_with("content")
      reading = traced do
        ring = UringIO::Ring.new(backend:)
        ring.batch { |batch| 3.times { batch.nop } }
        ring.chain { |chain| chain.close(chain.open(path)) }
      end
      names = reading.operations.map(&:name)
      expect(names.count("nop")).to eq(3)
      expect(names).to include(a_string_matching(/open/), "close")
      expect(reading.operations.map(&:fiber).uniq.size).to eq(1)
      expect(reading.operations.map(&:to)).to all(be_an(Integer))
    end

    it "counts the submissions and completions of each call into the kernel, and its time" do
      pairs = Array.new(3) { UNIXSocket.pair }
      reading = traced do
        pairs.each { |reader, _| Fiber.schedule { reader.readpartial(1) } }
        Fiber.blocking { pairs.each { |_, writer| writer.write("x") } }
      end
      expect(reading.enters.map(&:completions)).to include(3)
      expect(reading.enters.sum(&:submissions)).to be >= 3
      expect(reading.enters.map { |enter| enter.to - enter.from }).to all(be >= 0)
    ensure
      pairs&.flatten&.each(&:close)
    end

    it "records garbage collections, and the fiber in which they ran" do
      line = nil
      trace = UringIO.trace do
        scheduled do
          line = __LINE__ + 1
          Fiber.schedule { GC.start }
        end
      end
      reading = trace.engines.first
      fiber = fiber_at(reading, line)
      expect(fiber.collections).not_to be_empty
      expect(reading.collections).to include(*fiber.collections)
      names = expect_nested(trace.to_json).select { |event| event[:tid] == fiber.number }.map { |event| event[:name] }
      expect(names).to include("collects garbage")
    end

    it "shows a running scheduler so far, also to another thread" do
      queue = Queue.new
      line = nil
      snapshots = []
      reading = traced do
        line = __LINE__ + 1
        Fiber.schedule { queue.pop }
        scheduler = Fiber.scheduler
        snapshots << scheduler.trace
        Thread.new { snapshots << scheduler.trace }.join
        queue << 1
      end
      waits = snapshots.map { |snapshot| fiber_at(snapshot.engines.first, line).waits }
      expect(waits).to all(contain_exactly(have_attributes(purpose: "block", open: true)))
      expect(fiber_at(reading, line).waits).to contain_exactly(have_attributes(purpose: "block", open: false))
      snapshots.each { |snapshot| expect_nested(snapshot.to_json) }
    end

    it "shows a ring and a selector so far" do
      names = nil
      UringIO.trace do
        ring = UringIO::Ring.new(backend:)
        ring.nop
        names = ring.trace.engines.flat_map { |engine| [engine.backend, *engine.operations.map(&:name)] }
        selector = UringIO::Selector.new(Fiber.current, backend:)
        expect(selector.trace.engines).to eq([])
        selector.close
      end
      expect(names).to eq([backend, "nop"])
      expect { UringIO::Ring.new(backend:).trace }.to raise_error(UringIO::Error, /this UringIO::Ring: use /)
    end

    it "records a fiber that an exception ends, and one that another fiber raises into" do
      line = nil
      reading = nil
      tracing = lambda do
        reading = traced do
          line = __LINE__ + 1
          Fiber.schedule { raise KeyError }
          sleeping = Fiber.schedule { sleep }
          sleep(0.001)
          sleeping.raise(IOError)
        end
      end
      expect(&tracing).to output(/KeyError.*IOError/m).to_stderr
      dying, sleeping = [line, line + 1].map { |number| fiber_at(reading, number) }
      expect([dying, sleeping].map { |fiber| fiber.waits.any?(&:open) }).to eq([false, false])
      expect(waits(sleeping)).to eq(%w[sleep])
      expect(dying.runs.size).to be <= 2
    end

    it "contains in a forked child only the child's own work" do
      result = child(<<~RUBY, backend.to_s)
        UringIO::Trace.begin
        2.times { UringIO.run(backend: ARGV[0].to_sym) { sleep(0) } }
        pid = fork do
          UringIO.run(backend: ARGV[0].to_sym) { sleep(0) }
          puts UringIO::Trace.end.engines.size
        end
        Process.wait(pid)
        puts UringIO::Trace.end.engines.size
      RUBY
      expect([result.stderr, result.stdout]).to eq(["", "1\n2\n"])
    end

    it "keeps the latest records when there is no room for all, and counts the lost ones" do
      trace = UringIO.trace(records: 50) { scheduled { 100.times { sleep(0) } } }
      expect(trace.gone).to be > 100
      expect(JSON.parse(trace.to_json).dig("otherData", "gone")).to eq(trace.gone)
      expect_nested(trace.to_json)
    end

    it "records only its own block, and a second trace starts empty" do
      scheduled { sleep(0) }
      trace = UringIO.trace { nil }
      expect([trace.engines, trace.gone]).to eq([[], 0])
      expect(UringIO.trace { scheduled { sleep(0) } }.engines.size).to eq(1)
      expect { scheduled { Fiber.scheduler.trace } }.to raise_error(UringIO::Error, /nothing is recorded/)
    end

    it "may begin and end while fibers run" do
      scheduled do
        fiber = Fiber.schedule { loop { sleep(0.001) } }
        traces = Array.new(2) { UringIO.trace { sleep(0.01) } }
        expect(traces.map { |trace| trace.engines.first.fibers.size }).to all(be_between(1, 3))
        traces.each { |trace| expect_nested(trace.to_json) }
        fiber.kill
      end
    end

    it "writes its file even when its block raises" do
      path = free_path("trace.json")
      expect { UringIO.trace(path) { scheduled { raise KeyError } } }.to raise_error(KeyError)
      expect(JSON.parse(File.read(path)).fetch("traceEvents")).not_to be_empty
    end
  end

  let(:backend) { Backends::CHOSEN.first }

  it "refuses to record within another trace" do
    expect { UringIO.trace { UringIO.trace { nil } } }.to raise_error(UringIO::Error, /another trace records already/)
    expect(UringIO.trace { nil }).to be_a(UringIO::Trace)
    expect { UringIO.trace }.to raise_error(ArgumentError, /needs a block/)
  end

  it "is written at the end of a program with URING_IO_TRACE, and beside that by its forked children" do
    path = free_path("trace.json")
    result = child(<<~RUBY, env: { "URING_IO_TRACE" => path })
      UringIO.run { sleep(0.001) }
      fork { nil }
      Process.waitall
      puts fork { UringIO.run { sleep(0.002) } }
      Process.waitall
    RUBY
    expect(result.stderr).to eq("")
    files = Dir.children(File.dirname(path)).reject { |name| name.end_with?(".rb") }
    expect(files).to contain_exactly(File.basename(path), "#{File.basename(path, '.json')}-#{result.stdout.to_i}.json")
    files.each { |name| expect_nested(File.read(File.join(File.dirname(path), name))) }
  end

  it "reports on standard error that it cannot write its file" do
    result = child("UringIO.run { puts 1 }", env: { "URING_IO_TRACE" => "/nowhere/trace.json" })
    expect(result.stdout).to eq("1\n")
    expect(result.stderr).to start_with("uring_io: URING_IO_TRACE: /nowhere/trace.json cannot be written: ")
  end

  it "refuses a number of records that it cannot keep" do
    [0, -1, 1.5, nil, 2**40].each do |records|
      expect { UringIO.trace(records:) { nil } }.to raise_error(ArgumentError, /\Arecords: #{records.inspect} is not a/)
    end
    result = child("", env: { "URING_IO_TRACE" => free_path("trace.json"), "URING_IO_TRACE_RECORDS" => "many" })
    expect(result.stderr).to include("URING_IO_TRACE_RECORDS: \"many\" is not a number from 1 to 67108864")
  end

  describe "by uring_io trace" do
    let(:executable) { File.expand_path("../../exe/uring_io", __dir__) }

    def trace(*arguments)
      child("exec(RbConfig.ruby, \"-W1\", #{executable.dump}, \"trace\", *ARGV)", *arguments)
    end

    it "records the command, and exits with the command's status" do
      path = free_path("trace.json")
      script = "require \"uring_io\"; UringIO.run { sleep(0.001) }; exit 3"
      result = trace("--output", path, "--", RbConfig.ruby, "-I", ChildProgram::LIB, "-e", script)
      expect([result.status.exitstatus, result.stderr]).to eq([3, ""])
      expect_nested(File.read(path))
    end

    it "keeps as many records as --records asks for" do
      path = free_path("trace.json")
      script = "require \"uring_io\"; UringIO.run { 100.times { sleep(0) } }"
      result = trace("--records", "50", "-o", path, "--", RbConfig.ruby, "-I", ChildProgram::LIB, "-e", script)
      expect(result.stderr).to eq("")
      expect(JSON.parse(File.read(path)).dig("otherData", "gone")).to be > 100
    end

    it "leaves no file when the command records nothing" do
      path = free_path("trace.json")
      expect(trace("-o", path, "--", "true").status).to be_success
      expect(File).not_to exist(path)
    end

    it "reports errors on standard error" do
      path = free_path("trace.json")
      expect(trace("-o", path, "--", "/no/such").then { |it| [it.status.exitstatus, it.stderr] })
        .to eq([127, "uring_io: /no/such cannot be started: No such file or directory\n"])
      expect(trace("-o", path, "--", __FILE__).then { |it| [it.status.exitstatus, it.stderr] })
        .to eq([126, "uring_io: #{__FILE__} cannot be started: Permission denied\n"])
      expect(trace("-o", "/no/such/file", "true").stderr)
        .to eq("uring_io: --output: /no/such/file cannot be written: No such file or directory\n")
      expect(trace("--html", "/tmp/trace.json", "true").stderr)
        .to start_with("uring_io: trace: --html /tmp/trace.json: the name of a page ends in .html; see ")
      expect(trace("--records", "0", "true").stderr)
        .to start_with("uring_io: trace: --records: \"0\" is not a number from 1 to 67108864; see uring_io trace")
      expect(trace.stderr).to start_with("uring_io: trace: a command is missing; see uring_io trace --help\n")
    end
  end
end
