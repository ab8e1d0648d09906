# frozen_string_literal: true

# Runs the Ruby examples of README.md, docs/ and the other pages, each as a program of its own. Compares their output
# with the block of text after the example, and the number of their system calls with a line "System calls: 3" (or "at
# most 3"). A line "Seconds: 3.0" says how long the example takes; a busy machine may take three times as long plus half
# a second. An example that begins with "```ruby only=io_uring" runs on that backend alone. One with
# "needs=async,io-event" runs where these gems are installed, and one that needs rails runs in a request of a program on
# Rails. The examples in the comments of lib/ only have to run.
RSpec.describe "The examples" do
  root = File.expand_path("..", __dir__)
  example_class = Struct.new(:line, :code, :only, :needs, :output, :at_most, :calls, :seconds)
  fence = /^```ruby((?:[ ]\w+=[\w,-]+)*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?
           (?:\nSystem[ ]calls:[ ](at[ ]most[ ])?(\d+)$)?(?:\nSeconds:[ ]([\d.]+)$)?/mx

  examples_of = lambda do |path|
    examples = File.read(path).enum_for(:scan, fence).map do
      found = Regexp.last_match
      words, code, output, at_most, calls, seconds = found.captures
      words = words.split.to_h { |word| word.split("=") }
      unknown = words.keys - %w[only needs]
      raise "#{path}: an example has #{unknown.join(', ')}" if unknown.any?

      line = found.pre_match.count("\n") + 1
      needs = words.fetch("needs", "").split(",")
      example_class.new(line, code, words["only"]&.to_sym, needs, output, at_most, calls&.to_i,
                        seconds&.to_f)
    end
    raise "#{path}: an example begins or ends oddly" if examples.size != File.read(path).scan(/^ *```ruby/).size

    examples
  end

  # Sets up the files and servers that the pages mention, and makes the ring do its first-time work. The first argument
  # is the backend, which also applies to programs that name none.
  let(:before) do
    <<~RUBY
      require "socket"
      require "tmpdir"
      $stdout.sync = false
      backend = ARGV.fetch(0).to_sym
      folder = Dir.mktmpdir
      Dir.chdir(folder)
      parent = Process.pid
      at_exit { Dir.chdir("/") and FileUtils.rm_r(folder) if Process.pid == parent }
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

  # For examples with +urls+: a server that answers when it has all three requests, or when half a second has passed
  # without another one. Each answer says how many others there were. An example may have a local variable named
  # +pages+, so the server's variable has a name that no example uses.
  let(:pages) do
    <<~RUBY
      require "socket"
      pages_of_another_server = TCPServer.new("127.0.0.1", 0)
      urls = %w[a b c].map { |name| "http://127.0.0.1:\#{pages_of_another_server.local_address.ip_port}/\#{name}" }
      Thread.new do
        loop do
          asked = [pages_of_another_server.accept]
          asked << pages_of_another_server.accept while asked.size < 3 && pages_of_another_server.wait_readable(0.5)
          asked.each do |connection|
            connection.gets("\\r\\n\\r\\n")
            page = "with \#{asked.size - 1} others\\n"
            connection.write("HTTP/1.1 200 OK\\r\\nContent-Length: \#{page.size}\\r\\nConnection: close\\r\\n\\r\\n", page)
            connection.close
          end
        end
      end
    RUBY
  end

  # For examples that say how many seconds they take: a server of ten pages, each of which takes 0.3 s.
  let(:slow_pages) do
    <<~RUBY
      slow_server = TCPServer.new("127.0.0.1", 0)
      urls = Array.new(10) { |index| "http://127.0.0.1:\#{slow_server.local_address.ip_port}/\#{index}" }
      Thread.new do
        loop do
          Thread.new(slow_server.accept) do |connection|
            connection.gets("\\r\\n\\r\\n")
            sleep(0.3)
            connection.write("HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\npage\\n")
            connection.close
          end
        end
      end
      started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    RUBY
  end

  let(:stop_watch) { "puts Process.clock_gettime(Process::CLOCK_MONOTONIC) - started\n" }

  # For examples that need Rails: a booted program with a database of its own.
  let(:rails) do
    <<~RUBY
      require "logger"
      require "active_record/railtie"
      require "uring_io/rails"
      ENV["DATABASE_URL"] = "sqlite3:\#{folder}/database.sqlite3?pool=5"
      class Application < Rails::Application
        config.load_defaults 7.2
        config.eager_load = false
        config.secret_key_base = "0" * 32
        config.logger = Logger.new(IO::NULL)
        config.active_support.isolation_level = :fiber
      end
      Application.config.root = folder
      Application.initialize!
    RUBY
  end

  # Names that the comments take for granted.
  let(:names) do
    <<~RUBY
      require "net/http"
      require "uring_io/doctor"
      require "uring_io/selector/checked"
      socket.write("x")
      socket, peer = peer, socket
      paths = Dir["*"]
      uri = URI(urls.first)
      def work = sleep(0.001)
    RUBY
  end

  def skip_without(*gems)
    missing = gems.find { |name| Gem::Specification.find_all_by_name(name).empty? }
    skip "the gem #{missing} is not installed" if missing
  end

  def program(example)
    return "#{before}#{slow_pages}#{example.code}#{stop_watch}" if example.seconds

    start = "#{pages if example.code.include?('urls')}#{before}"
    return "#{start}#{example.code}#{after}" unless example.needs.include?("rails")

    "#{start}#{rails}Application.executor.wrap do\n#{example.code}end\n#{after}"
  end

  def run(script)
    child(script, backend, env: { "URING_IO_BACKEND" => backend.to_s }, limit: 30)
  end

  # The smallest number of system calls in several tries: on a busy machine a wait may return early.
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

  # These pages of docs/ are about the project's development, and have no examples.
  without_examples = %w[README.md architecture.md development.md words.md reliability.md debugging.md performance.md]
                     .map { |name| File.join(root, "docs", name) }
  need_none = %w[CHANGELOG.md CONTRIBUTING.md SECURITY.md].map { |name| File.join(root, name) }

  [File.join(root, "README.md"), *need_none, *Dir[File.join(root, "docs/**/*.md")]].each do |path|
    name = path.delete_prefix("#{root}/")
    next if without_examples.include?(path)

    examples = examples_of.call(path)
    raise "no examples in #{name}" if examples.empty? && !need_none.include?(path)

    each_backend(only: %i[io_uring epoll], limit: 200) do |backend|
      examples.each do |example|
        next unless [nil, backend].include?(example.only)

        it "do what #{name} says in line #{example.line}", needs: example.needs do
          skip_without(*example.needs)
          result = run(program(example))
          expect(result.stderr.lines.grep_v(/this machine has/)).to eq([])
          expect(result.status).to be_success
          *output, seconds = result.stdout.lines if example.seconds
          expect(output ? output.join : result.stdout).to eq(example.output || "")
          expect(seconds.to_f).to be_between(example.seconds * 0.7, (example.seconds * 3) + 0.5) if example.seconds
        end

        next unless example.calls && backend == :io_uring

        it "make as many system calls as #{name} says in line #{example.line}" do
          skip SystemCalls.missing if SystemCalls.missing
          calls = calls_of(example)
          number = example.at_most ? be <= example.calls : eq(example.calls)
          expect(calls.size).to number, "it makes #{calls.inspect}"
        end
      end
    end
  end

  # Matches lines of a comment that are indented below an empty one, except comments within these.
  indented = /^ *#\n( *#   [^\s#].*\n(?: *#   .*\n)*)/
  comments = Dir[File.join(root, "lib/**/*.rb")].flat_map do |path|
    File.read(path).enum_for(:scan, indented).map do
      found = Regexp.last_match
      [path.delete_prefix("#{root}/"), found.pre_match.count("\n") + 2, found[1].gsub(/^ *#   /, "")]
    end
  end
  raise "no examples in lib/" if comments.empty?

  each_backend(only: %i[io_uring epoll], limit: 60) do
    comments.each do |name, line, code|
      it "run as #{name} shows them in line #{line}" do
        skip_without("io-event") if code.include?("uring_io/async")
        skip_without("nio4r") if code.include?('"uring_io/nio"')
        result = run("#{pages}#{before}#{names}#{code}")
        expect(result.stderr).to eq("")
        expect(result.status).to be_success
      end
    end
  end
end
