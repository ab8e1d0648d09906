# frozen_string_literal: true

require_relative "async_helper"
require_relative "../support/certificates"
require "net/http"
require "openssl"

begin
  require "async/http"
rescue LoadError => error
  raise unless error.path == "async/http"
end

# io-stream needs methods of openssl 3.3 and newer, but Ruby 3.3 comes with openssl 3.2.
%i[timeout wait_readable wait_writable local_address remote_address].each do |name|
  next if OpenSSL::SSL::SSLSocket.method_defined?(name)

  OpenSSL::SSL::SSLSocket.define_method(name) { |*arguments| to_io.public_send(name, *arguments) }
end

# A server of async-http that runs in a task.
Serving = Struct.new(:task, :bound, :endpoint) do
  # Stops the server. The kernel resets connections that nobody has accepted.
  def stop
    task.stop
    task.wait
    bound.close
  end

  def port
    endpoint.port
  end

  def client(**, &)
    Async::HTTP::Client.open(endpoint, **, &)
  end

  # A connection that speaks no HTTP by itself.
  def raw
    TCPSocket.new("127.0.0.1", port)
  end
end

RSpec.describe "async-http" do
  include Certificates

  before(:context) { @key, @certificate = self_signed("localhost") }

  before { skip "the gem async-http is not installed" unless defined?(Async::HTTP) }

  # For each protocol, the scheme, and the version that the client asks for.
  protocols = { "HTTP/1" => %w[http http/1.1], "HTTP/2" => %w[http h2],
                "HTTP/1 over TLS" => %w[https http/1.1], "HTTP/2 over TLS" => %w[https h2] }

  def server_context
    context = OpenSSL::SSL::SSLContext.new
    context.add_certificate(@certificate, @key)
    context.alpn_select_cb = lambda(&:first)
    context
  end

  def client_context(version)
    context = OpenSSL::SSL::SSLContext.new
    context.verify_mode = OpenSSL::SSL::VERIFY_PEER
    context.verify_hostname = true
    context.cert_store = OpenSSL::X509::Store.new
    context.cert_store.add_cert(@certificate)
    context.alpn_protocols = [version]
    context
  end

  # Runs a server for the length of the block.
  def serving(app, scheme = "http", version = "http/1.1")
    bound = IO::Endpoint.tcp("127.0.0.1", 0).bound
    port = bound.sockets.first.local_address.ip_port
    listening = Async::HTTP::Endpoint.parse("#{scheme}://localhost:#{port}", bound, ssl_context: server_context)
    task = Async::HTTP::Server.for(listening, &app).run
    serving = Serving.new(task, bound, endpoint(scheme, version, port))
    yield serving
  ensure
    serving&.stop
  end

  def endpoint(scheme, version, port)
    options = { ssl_context: client_context(version) } if scheme == "https"
    # Without TLS, nothing tells the client the server's version.
    options ||= { protocol: Async::HTTP::Protocol.const_get(version == "h2" ? :HTTP2 : :HTTP11) }
    Async::HTTP::Endpoint.parse("#{scheme}://localhost:#{port}", IO::Endpoint.tcp("127.0.0.1", port), **options)
  end

  def ok(*body) = Protocol::HTTP::Response[200, {}, body]

  # Answers each request by its path and its body.
  def echo
    ->(request) { ok(request.path, ":", request.read.to_s.reverse) }
  end

  each_reactor do
    protocols.each do |title, (scheme, version)|
      it "serves 20 clients with 2,000 requests over #{title}, with every byte right", limit: 90 do
        right = 0
        reactor do |task|
          serving(echo, scheme, version) do |serving|
            serving.client do |client|
              clients = Array.new(20) do |index|
                task.async do
                  100.times do |number|
                    data = pattern((index * 500) + number, number)
                    response = client.post("/#{index}/#{number}", {}, data)
                    expect(response.version).to eq(version == "h2" ? "HTTP/2" : "HTTP/1.1")
                    right += 1 if response.read.b == "/#{index}/#{number}:".b + data.reverse
                  end
                end
              end
              clients.each(&:wait)
            end
          end
        end
        expect(right).to eq(2_000)
      end

      it "streams 4 MB over #{title} to a client that reads slowly, byte for byte" do
        data = pattern(4_000_000)
        app = lambda do |_|
          body = Protocol::HTTP::Body::Writable.new(queue: Thread::SizedQueue.new(2))
          Async do
            data.bytesize.fdiv(50_000).ceil.times { |part| body.write(data.byteslice(part * 50_000, 50_000)) }
          ensure
            body.close_write
          end
          Protocol::HTTP::Response[200, {}, body]
        end
        received = +"".b
        reactor do
          serving(app, scheme, version) do |serving|
            serving.client do |client|
              client.get("/").each do |chunk|
                received << chunk
                sleep(0.0005)
              end
            end
          end
        end
        expect(received == data).to be(true)
      end

      it "answers 50 requests over #{title} that wait for each other" do
        present = 0
        gate = Async::Condition.new
        app = lambda do |request|
          present += 1
          present == 50 ? gate.signal : gate.wait
          ok(request.path)
        end
        answers = reactor do |task|
          serving(app, scheme, version) do |serving|
            serving.client do |client|
              Array.new(50) { |index| task.async { client.get("/#{index}").read } }.map(&:wait)
            end
          end
        end
        expect(answers).to eq(Array.new(50) { |index| "/#{index}" })
      end
    end

    it "waits for a client that sends its request byte by byte, and serves other clients meanwhile" do
      request = "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbytes"
      others = 0
      answer = reactor do |task|
        serving(echo) do |serving|
          slow = task.async do
            socket = serving.raw
            request.each_char do |byte|
              socket.write(byte)
              sleep(0.001)
            end
            socket.read.tap { socket.close }
          end
          serving.client do |client|
            while slow.running?
              expect(client.get("/other").read).to eq("/other:")
              others += 1
            end
          end
          slow.wait
        end
      end
      expect(answer).to start_with("HTTP/1.1 200 OK\r\n").and end_with("setyb")
      expect(others).to be > 5
    end

    { "closes" => ->(socket) { socket.close },
      "resets" => lambda { |socket|
        socket.setsockopt(Socket::Option.linger(true, 0))
        socket.close
      } }.each do |way, vanish|
      it "goes on when a client #{way} its connection before or in the middle of its head, its body or the answer" do
        asked = 0
        app = lambda do |request|
          asked += 1
          case request.path
          when "/large" then ok(*Array.new(100) { "x" * 100_000 })
          when "/late" then ok("late") if sleep(0.01)
          else echo.call(request)
          end
        end
        reactor do
          Console.logger.off! # async-http's tasks end with these errors
          serving(app) do |serving|
            begin_of_head = "GET /half HT"
            begin_of_body = "POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"
            large = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"
            late = "GET /late HTTP/1.1\r\nHost: a\r\n\r\n"
            10.times do
              [begin_of_head, begin_of_body, large, late, ""].each do |sent|
                socket = serving.raw
                socket.write(sent)
                socket.readpartial(1_000) if sent.equal?(large)
                vanish.call(socket)
              end
            end
            eventually { asked >= 30 }
            serving.client { |client| expect(client.get("/after").read).to eq("/after:") }
          end
        end
      end
    end

    it "answers in full every request that it has taken when it stops under load" do
      taken = []
      answered = []
      refused = 0
      app = lambda do |request|
        taken << request.path
        sleep(0.002)
        ok(request.path, "x" * 200_000)
      end
      reactor do |task|
        serving(app) do |serving|
          clients = Array.new(20) do |index|
            task.async do
              serving.client(retries: 0) do |client|
                (0..).each do |number|
                  path = "/#{index}/#{number}"
                  response = client.get(path)
                  answered << path if response.read == path + ("x" * 200_000)
                end
              rescue SystemCallError, IOError
                refused += 1
              end
            end
          end
          # A connection that is at its first request when async-http stops stays open, on any selector.
          eventually { answered.size > 60 && answered.uniq { |path| path[/\d+/] }.size == 20 }
          serving.stop
          clients.each(&:wait)
        end
      end
      expect(refused).to eq(20)
      expect(answered).to match_array(taken)
    end

    it "ends a request at its timeout, and takes the next one" do
      reactor do |task|
        gate = Thread::Queue.new
        app = lambda do |request|
          gate.pop if request.path == "/never"
          ok("answer")
        end
        serving(app) do |serving|
          serving.client do |client|
            5.times do
              expect { task.with_timeout(0.01) { client.get("/never").read } }.to raise_error(Async::TimeoutError)
              expect(client.get("/").read).to eq("answer")
            end
          end
          gate.close
        end
      end
    end

    it "serves Net::HTTP, in tasks of the same reactor and in threads without one" do
      bodies = reactor do |task|
        serving(echo) do |serving|
          get = ->(path) { Net::HTTP.get("127.0.0.1", path, serving.port) }
          tasks = Array.new(5) { |index| task.async { get.call("/task/#{index}") } }
          threads = Array.new(5) { |index| Thread.new { get.call("/thread/#{index}") } }
          tasks.map(&:wait) + threads.map(&:value)
        end
      end
      expect(bodies).to eq(%w[task thread].flat_map { |kind| Array.new(5) { |index| "/#{kind}/#{index}:" } })
    end
  end
end
