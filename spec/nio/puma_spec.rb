# frozen_string_literal: true

require_relative "nio_helper"
require "json"

# The programs that the examples run.
module PumaPrograms
  # The app of the server.
  APP = <<~'RUBY'
    run lambda { |env|
      body = case env["PATH_INFO"]
             when "/reactor"
               selector = ObjectSpace.each_object(Puma::Reactor).first.instance_variable_get(:@selector)
               [Process.pid, selector.class, selector.backend].join(" ")
             when "/stats" then Puma.stats
             when "/work"
               puts "working #{Process.pid}"
               sleep(0.3) && "worked"
             else "#{env["PATH_INFO"]} #{env["rack.input"].read.bytesize}"
             end
      [200, { "content-type" => "text/plain" }, [body]]
    }
  RUBY

  # The server.
  PROGRAM = <<~RUBY
    require "puma/cli"
    Puma::CLI.new(ARGV).run
  RUBY
end

# Runs Puma as a program of its own, whose config requires uring_io/nio.
RSpec.describe "Puma on uring_io/nio" do
  before do
    missing = %w[puma nio4r rack].find { |name| Gem::Specification.find_all_by_name(name).empty? }
    skip "the gem #{missing} is not installed" if missing
  end

  # Runs Puma with these lines in its config while the block runs. The block gets the program and a port.
  def serving(*lines, workers: 1)
    app = free_path("config.ru")
    File.write(app, PumaPrograms::APP)
    config = file_with(<<~RUBY)
      require "uring_io/nio"
      rackup #{app.dump}
      bind "tcp://127.0.0.1:0"
      threads 1, 3
      raise_exception_on_sigterm false
      #{lines.join("\n")}
    RUBY
    env = { "URING_IO_BACKEND" => backend.to_s, "RUBYLIB" => ChildProgram::LIB }
    child(PumaPrograms::PROGRAM, "-C", config, env:) do |puma|
      yield puma, (port = port_of(puma))
      signal_at_work("TERM", puma, port, workers)
    end
  end

  # Sends a signal while each worker has a request, which it finishes. (A Puma that stops at once sometimes hangs, on
  # nio4r's own selector as well: in IO#close of its pipe, to which the signal's handler has just written.)
  def signal_at_work(name, puma, port, workers = 1)
    sockets = []
    busy = []
    until busy.uniq.size == workers
      sockets << connect(port)
      sockets.last.write("GET /work HTTP/1.1\r\nHost: spec\r\n\r\n")
      nil until (line = puma.gets).start_with?("working ")
      busy << line
    end
    puma.signal(name)
    expect(sockets.map { |socket| answer(socket) }.uniq).to eq(["worked"])
  end

  def port_of(puma)
    listening = %r{Listening on http://127\.0\.0\.1:(\d+)}
    nil until (line = puma.gets).match?(listening)
    line[listening, 1].to_i
  end

  def connect(port) = closing(TCPSocket.new("127.0.0.1", port))

  # The body of the next answer.
  def answer(socket)
    head = socket.gets("\r\n\r\n")
    return head unless head&.start_with?("HTTP/1.1 200")

    socket.read(head[/^content-length: (\d+)/i, 1].to_i)
  end

  def ask(socket, path, body: nil)
    length = "Content-Length: #{body.bytesize}\r\n" if body
    socket.write("#{body ? 'POST' : 'GET'} #{path} HTTP/1.1\r\nHost: spec\r\n#{length}\r\n#{body}")
    answer(socket)
  end

  def stats(port) = JSON.parse(ask(connect(port), "/stats"))

  # Waits until Puma reports that its reactor has had this many connections, if it reports that number at all.
  def until_in_reactor(port, count)
    nil until stats(port).fetch("reactor_max", count) >= count
  end

  each_backend do |backend|
    it "answers many open connections, and ends them when it stops, after finishing its work" do
      result = serving do |_, port|
        expect(ask(connect(port), "/reactor")).to end_with(" UringIO::NIO::Selector #{backend}")
        sockets = Array.new(16) { connect(port) }
        2.times do |round|
          sockets.each { |socket| socket.write("GET /#{round} HTTP/1.1\r\nHost: spec\r\n\r\n") }
          expect(sockets.map { |socket| answer(socket) }.uniq).to eq(["/#{round} 0"])
          until_in_reactor(port, 16)
        end
        @idle = sockets
      end
      expect(result).to have_attributes(stderr: "", status: be_success)
      expect(@idle.map(&:read).uniq).to eq([""])
    end

    it "serves slow requests, and ends connections whose request does not come" do
      result = serving("first_data_timeout 3") do |_, port|
        heads = ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nHost: spec\r\nContent-Length: 2\r\n\r\n1"]
        never = heads.map { |head| connect(port).tap { |socket| socket.write(head) } }
        slow = connect(port)
        "POST /slow HTTP/1.1\r\nHost: spec\r\nContent-Length: 4\r\n\r\nbody".each_char do |byte|
          slow.write(byte)
          Thread.pass
        end
        expect(answer(slow)).to eq("/slow 4")
        body = pattern(300_000)
        slow.write("POST /large HTTP/1.1\r\nHost: spec\r\nContent-Length: #{body.bytesize}\r\n\r\n")
        body.scan(/.{1,20000}/mn) { |part| slow.write(part) }
        expect(answer(slow)).to eq("/large 300000")
        expect(never.map(&:read)).to match(["", a_string_starting_with("HTTP/1.1 408")])
        gone = connect(port)
        gone.write("GET / HT")
        gone.close
        expect(ask(slow, "/after")).to eq("/after 0")
      end
      expect(result).to have_attributes(stderr: "", status: be_success)
    end

    it "uses our selector in each worker of a cluster, including later workers" do
      result = serving("workers 2", "worker_check_interval 1", workers: 2) do |puma, port|
        seen = {}
        workers = lambda do
          pid, *selector = ask(connect(port), "/reactor")&.split
          seen[pid.to_i] = selector if pid
          seen.size
        rescue SystemCallError
          seen.size # of the killed worker
        end
        nil until workers.call == 2
        Process.kill("KILL", seen.keys.first)
        nil until workers.call == 3
        expect(seen.values.uniq).to eq([["UringIO::NIO::Selector", backend.to_s]])
        sockets = Array.new(20) { connect(port) }
        expect(sockets.map { |socket| ask(socket, "/") }.uniq).to eq(["/ 0"])
        expect(sockets.map { |socket| ask(socket, "/") }.uniq).to eq(["/ 0"])
        expect(puma.pid).not_to eq(seen.keys.first)
      end
      expect(result).to have_attributes(stderr: "", status: be_success)
    end
  end

  each_backend(only: [:io_uring]) do
    it "uses our selector again after a restart, on the same port" do
      result = serving do |puma, port|
        idle = connect(port)
        expect(ask(idle, "/")).to eq("/ 0")
        signal_at_work("USR2", puma, port)
        nil until puma.gets.include?("* Inherited ")
        expect(ask(connect(port), "/reactor")).to start_with("#{puma.pid} UringIO::NIO::Selector")
        expect(idle.read).to eq("")
      end
      expect(result).to have_attributes(stderr: "", status: be_success)
    end

    { "epoll" => "NIO::Selector epoll", "uring_io" => "UringIO::NIO::Selector io_uring",
      "auto" => "UringIO::NIO::Selector io_uring" }.each do |name, selector|
      it "uses #{selector} with io_selector_backend :#{name}" do
        result = serving("io_selector_backend :#{name}") do |_, port|
          expect(ask(connect(port), "/reactor")).to end_with(" #{selector}")
        end
        expect(result).to have_attributes(stderr: "", status: be_success)
      end
    end
  end
end
