# frozen_string_literal: true

require "net/http"
require "uring_io/profile"
require_relative "../support/profiles"

# Checks the profiler's findings about programs on Async, async-http and Puma, sampled from outside and counted inside.
RSpec.describe UringIO::Profile, "of programs on gems", :profiles, limit: 90 do
  # A server that answers every line after 0.1 seconds.
  def answering
    server = TCPServer.new("127.0.0.1", 0)
    thread = Thread.new do
      while (socket = server.accept)
        Thread.new(socket) { |one| sleep(0.1) && one.puts("x") while one.gets }
      end
    end
    yield server.local_address.ip_port
  ensure
    thread&.kill&.join
    server&.close
  end

  # Runs a server while the block runs. The block gets the path of the server's socket.
  def profiled_server(script, port)
    Dir.mktmpdir do |folder|
      path = File.join(folder, "server.sock")
      command = [RbConfig.ruby, "-I", ChildProgram::LIB, "-e", script, path, port]
      result = profile("--json", "--", *command, limit: 60) do |program|
        eventually { File.socket?(path) }
        yield path
        program.signal(:TERM)
      end
      JSON.parse(result.stdout, symbolize_names: true)
    end
  end

  # Sends this number of requests at the same time, and then none for two seconds.
  def ask(path, number)
    answers = Array.new(number) do
      Thread.new do
        socket = UNIXSocket.new(path)
        socket.write("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        socket.read[/\r\n\r\n(.*)\z/m, 1]
      ensure
        socket&.close
      end
    end
    expect(answers.map(&:value)).to all(eq("x\n"))
    sleep(2)
  end

  # The seconds that all fibers have waited, by kind and peer.
  def fibers(found)
    waits = agents(found).flat_map { |agent| agent[:fibers][:waits] }
    waits.group_by { |wait| wait.values_at(:kind, :peer) }
         .transform_values { |group| group.sum { |wait| wait[:seconds] } }
  end

  it "lists the waits of tasks by peer, and shows that they overlap" do
    answering do |port|
      found = recorded(<<~RUBY, port, limit: 60)
        require "async"
        Async do
          5.times do
            Async do
              socket = TCPSocket.new("127.0.0.1", ARGV[0].to_i)
              5.times { [socket.puts("a"), socket.gets] }
            end
          end
          Async { sleep(0.1) }
        end
      RUBY
      expect(agents(found).first[:scheduler][:class]).to start_with("Async::")
      expect(fibers(found)[["socket", "127.0.0.1:#{port}"]]).to be_between(2.5, 10)
      expect(fibers(found)[["asleep", nil]]).to be >= 0.1
      expect(fibers(found).keys).not_to include(["lock", nil])
      expect(agents(found).first[:fibers][:at_most]).to be_between(6, 7)
      expect(undisturbed_verdict(found).sentences.last).to start_with("Overlapping waits: its fibers overlap them")
      expect(undisturbed_verdict(found)).not_to be_worth_it
      expect_sums(found)
    end
  end

  it "distinguishes async-http's clients from the peer that it waits for, and its idle time from both" do
    answering do |port|
      found = profiled_server(<<~RUBY, port) { |path| ask(path, 8) }
        require "async"
        require "async/http"
        require "io/endpoint/unix_endpoint"
        trap("TERM") { exit!(0) }
        answer = lambda do |_|
          socket = TCPSocket.new("127.0.0.1", ARGV[1].to_i)
          socket.puts("a")
          Protocol::HTTP::Response[200, {}, [socket.gets]]
        ensure
          socket.close
        end
        Async do
          endpoint = Async::HTTP::Endpoint.parse("http://localhost", IO::Endpoint.unix(ARGV[0]))
          Async::HTTP::Server.for(endpoint, &answer).run
        end
      RUBY
      expect(fibers(found)[["socket", "127.0.0.1:#{port}"]]).to be > 0.7
      idle = fibers(found).keys.find { |kind, peer| kind == "idle" && peer.start_with?("for clients of /") }
      expect(idle).not_to be_nil
      expect(seconds(found, "idle", /server\.sock/)).to be > 0.2
      expect_sums(found)
    end
  end

  it "follows the workers of Puma, and names the peers of its threads" do
    skip "the gem puma is not installed" if Gem::Specification.find_all_by_name("puma").empty?
    answering do |port|
      found = profiled_server(<<~RUBY, port) { |path| ask(path, 12) }
        require "puma"
        require "puma/configuration"
        require "puma/launcher"
        require "socket"
        settings = Puma::Configuration.new do |config|
          config.bind("unix://\#{ARGV[0]}")
          config.workers(2)
          config.threads(3, 3)
          config.worker_shutdown_timeout(1) # a worker now and then does not end: Puma then waits for 30 s
          config.quiet
          config.app do |_|
            socket = TCPSocket.new("127.0.0.1", ARGV[1].to_i)
            socket.puts("a")
            [200, {}, [socket.gets]]
          ensure
            socket.close
          end
        end
        Puma::Launcher.new(settings).run
      RUBY
      expect(found[:processes].size).to eq(3)
      expect(agents(found).size).to eq(3)
      expect(seconds(found, "socket", /\A127\.0\.0\.1:#{port}\z/)).to be > 0.1
      expect(seconds(found, "idle", /server\.sock/)).to be > 0.2
      expect(seconds(found, "pipe")).to be < seconds(found, "idle")
      expect(agents(found).sum { |agent| agent[:gvl][:count] }).to be > 12
      expect_sums(found)
    end
  end
end
