# frozen_string_literal: true

# Runs the Ruby examples of docs/, each as a program of its own, and compares what they print and how many system
# calls they make with what the pages say: in a block of text after the example, and in a line "System calls: 3" (or
# "at most 3"). An example that begins with "```ruby only=io_uring" is for that backend alone.
RSpec.describe "The examples in docs/" do
  example_class = Struct.new(:line, :code, :only, :output, :at_most, :calls)
  fence = /^```ruby(?: only=(\w+))?\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?(?:\nSystem calls: (at most )?(\d+)$)?/m

  examples_of = lambda do |path|
    File.read(path).enum_for(:scan, fence).map do
      found = Regexp.last_match
      only, code, output, at_most, calls = found.captures
      example_class.new(found.pre_match.count("\n") + 1, code, only&.to_sym, output, at_most, calls&.to_i)
    end
  end

  # What the pages say is there; everything that a ring does once is done. The first argument is the backend.
  let(:before) do
    <<~RUBY
      require "socket"
      require "tmpdir"
      $stdout.sync = false
      backend = ARGV.fetch(0).to_sym
      folder = Dir.mktmpdir
      Dir.chdir(folder)
      at_exit { Dir.chdir("/") and FileUtils.rm_r(folder) }
      File.write("notes.txt", "hello, ring\\n")
      File.write("index.html", "a" * 1024)
      file = File.open("notes.txt")
      server = TCPServer.new("127.0.0.1", 0)
      client = server.local_address.connect
      socket, peer = UNIXSocket.pair
      ring = UringIO::Ring.new(backend:)
      ring.chain { |c| c.close(c.open("notes.txt")) }
      ring.send(socket, "x")
      ring.recv_each(peer).first
      if backend == :io_uring
        ring.register(IO::Buffer.new(1)).release
        client.setsockopt(:SOCKET, :SNDBUF, 1 << 20)
      end
      2.times { ring.nop }
      GC.start
      GC.disable
      Process.getpriority(Process::PRIO_PROCESS, 0)
    RUBY
  end

  let(:after) { "Process.getpriority(Process::PRIO_PROCESS, 0)\n" }

  def program(example)
    "#{before}#{example.code}#{after}"
  end

  # The fewest system calls in some tries: a busy machine makes a wait come back early.
  def calls_of(example)
    tries_max = 5
    calls = []
    tries_max.times do
      _, made = SystemCalls.between_markers(program(example), backend, limit: 30)
      calls << (made - SystemCalls::MEMORY)
      break if calls.last.size <= example.calls
    end
    calls.min_by(&:size)
  end

  # Those beside docs/ring that tell how it is made, and not how it is used, have none.
  without_examples = %w[architecture.md reliability.md debugging.md]

  Dir[File.expand_path("../docs/**/*.md", __dir__)].each do |path|
    name = File.basename(path)
    examples = examples_of.call(path)
    next if without_examples.include?(name)
    raise "no examples in #{name}" if examples.empty?

    each_backend(only: %i[io_uring epoll], limit: 200) do |backend|
      examples.each do |example|
        next unless [nil, backend].include?(example.only)

        it "do what #{name} says, line #{example.line}" do
          result = child(program(example), backend, limit: 30)
          expect(result.stderr.lines.grep_v(/this machine has/)).to eq([])
          expect(result.status).to be_success
          expect(result.stdout).to eq(example.output || "")
        end

        next unless example.calls && backend == :io_uring

        it "make as many system calls as #{name} says, line #{example.line}" do
          skip SystemCalls.missing if SystemCalls.missing
          calls = calls_of(example)
          number = example.at_most ? be <= example.calls : eq(example.calls)
          expect(calls.size).to number, "it makes #{calls.inspect}"
        end
      end
    end
  end
end
