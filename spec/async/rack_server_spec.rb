# frozen_string_literal: true

require_relative "async_helper"
require_relative "../support/redis"
require_relative "../../bench/web/app"
require "net/http"

# Runs the server that bench/falcon measures, as a program of its own: Falcon, or else async-http's own server.
RSpec.describe "A Rack app on Async's server" do
  before do
    missing = %w[async-http protocol-rack rack].find { |name| Gem::Specification.find_all_by_name(name).empty? }
    skip "the gem #{missing} is not installed" if missing
  end

  # Runs the server for the length of the block, which gets the program and its port.
  def serving(*arguments, env: {})
    file = File.expand_path("../../bench/falcon/server.rb", __dir__)
    async_child("load #{file.dump}", *arguments, env:) do |program|
      yield program, program.gets[%r{\AListening on http://127\.0\.0\.1:(\d+)\n\z}, 1].to_i
      program.signal("TERM")
    end
  end

  def connect(port) = closing(TCPSocket.new("127.0.0.1", port))

  def refuses?(port)
    connect(port) && false
  rescue Errno::ECONNREFUSED
    true
  end

  def request(path, verb: "GET", headers: "", body: "")
    "#{verb} #{path} HTTP/1.1\r\nHost: spec\r\n#{headers}\r\n#{body}"
  end

  # The status, the length and the body of the next answer.
  def answer(socket, body: true)
    head = socket.gets("\r\n\r\n").to_s
    size = head[/^content-length: (\d+)/i, 1].to_i
    [head[%r{\AHTTP/1\.1 (\d+)}, 1].to_i, size, body ? socket.read(size) : ""]
  end

  each_reactor do
    it "answers one request after the other on a connection, each with its own body, and nothing to HEAD" do
      result = serving do |_, port|
        socket = connect(port)
        3.times do
          %w[hello json sleep].each do |route|
            right = WebApp.body(route)
            socket.write(request("/#{route}"))
            expect(answer(socket)).to eq([200, right.bytesize, right])
            socket.write(request("/#{route}", verb: "HEAD"))
            expect(answer(socket, body: false)).to eq([200, right.bytesize, ""])
          end
          socket.write(request("/none"))
          expect(answer(socket)).to eq([404, 13, "nothing here\n"])
        end
        # Sends three requests at once. The answers come in order.
        socket.write(%w[json sleep hello].map { |route| request("/#{route}") }.join)
        expect(Array.new(3) { answer(socket).last }).to eq(%w[json sleep hello].map { |route| WebApp.body(route) })
        socket.write(request("/hello", headers: "Connection: close\r\n"))
        expect(socket.read).to end_with("\r\n\r\n#{WebApp::GREETING}")
      end
      expect(result).to have_attributes(stdout: "", stderr: "", status: be_success)
    end

    it "takes bodies of any size, with a length and in chunks, whole and byte by byte" do
      result = serving do |_, port|
        socket = connect(port)
        [0, 1, 1_000, 300_000].each do |size|
          body = pattern(size)
          socket.write(request("/echo", verb: "POST", headers: "Content-Length: #{size}\r\n", body:))
          expect(answer(socket) == [200, size, body]).to be(true)
          chunks = body.scan(/.{1,7000}/mn).map { |part| "#{part.bytesize.to_s(16)}\r\n#{part}\r\n" }
          socket.write(request("/echo", verb: "POST", headers: "Transfer-Encoding: chunked\r\n"))
          [*chunks, "0\r\n\r\n"].each { |chunk| socket.write(chunk) }
          expect(answer(socket) == [200, size, body]).to be(true)
        end
        request("/echo", verb: "POST", headers: "Content-Length: 4\r\n", body: "slow").each_char do |byte|
          socket.write(byte)
        end
        expect(answer(socket)).to eq([200, 4, "slow"])
      end
      expect(result).to have_attributes(stdout: "", stderr: "", status: be_success)
    end

    it "makes Redis calls for 40 clients at once over 16 connections" do
      skip RedisServer.missing if RedisServer.missing
      redis = RedisServer.new
      RedisClient.new(path: redis.path).tap { |client| client.call("SET", WebApp::REDIS_KEY, "greeting") }.close
      result = serving(env: { "WEB_BENCH_REDIS" => redis.path }) do |_, port|
        sockets = Array.new(40) { connect(port) }
        5.times do
          sockets.each { |socket| socket.write(request("/redis")) }
          expect(sockets.map { |socket| answer(socket) }.uniq).to eq([[200, 9, "greeting\n"]])
        end
      end
      expect(result).to have_attributes(stdout: "", stderr: "", status: be_success)
    ensure
      redis&.stop
    end

    %w[INT TERM].each do |signal|
      it "at #{signal} answers its 20 requests in full, and ends idle connections" do
        config = free_path("config.ru")
        File.write(config, <<~RUBY)
          run lambda { |env|
            puts "asked" if env["PATH_INFO"] == "/slow"
            sleep(0.2)
            [200, { "content-type" => "text/plain" }, ["a" * 100_000, "b" * 100_000]]
          }
        RUBY
        result = serving(config) do |program, port|
          idle = connect(port)
          idle.write(request("/", headers: "Accept: */*\r\n"))
          head = idle.gets("\r\n\r\n")
          expect(head).to start_with("HTTP/1.1 200")
          length = head[/^content-length: (\d+)/i, 1]
          expect(length ? idle.read(length.to_i).size : idle.gets("\r\n0\r\n\r\n").size).to be >= 200_000
          sockets = Array.new(20) { connect(port) }
          sockets.each { |socket| socket.write(request("/slow")) }
          20.times { expect(program.gets).to eq("asked\n") }
          program.signal(signal)
          expect(idle.read).to eq("")
          eventually { refuses?(port) }
          sockets.each do |socket|
            text = socket.read
            expect(text).to start_with("HTTP/1.1 200")
            expect(text.count("b")).to be >= 100_000
          end
        end
        expect(result).to have_attributes(stdout: "", stderr: "", status: be_success)
      end
    end
  end
end
