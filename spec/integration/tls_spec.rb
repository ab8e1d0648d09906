# frozen_string_literal: true

require "net/http"
require "openssl"
require_relative "../support/certificates"

RSpec.describe "TLS by OpenSSL, with server and clients on one thread," do
  include Certificates

  before(:context) { @key, @certificate = self_signed("localhost") }

  # A TLS server on loopback.
  def tls_server(max_version: nil)
    context = OpenSSL::SSL::SSLContext.new
    context.max_version = max_version
    context.add_certificate(@certificate, @key)
    OpenSSL::SSL::SSLServer.new(tcp_server, context).tap { |server| server.start_immediately = false }
  end

  # Passes each connection, before its handshake, to a fiber of its own. Ends when somebody closes the server.
  def serve(server, count)
    Fiber.schedule do
      count.times do
        connection = closing(server.accept)
        connection.sync_close = true
        Fiber.schedule { yield connection }
      end
    end
  end

  # A client before its handshake. It trusts our certificate, another one, or none.
  def tls_client(server, trusted: @certificate)
    context = OpenSSL::SSL::SSLContext.new
    context.verify_mode = OpenSSL::SSL::VERIFY_PEER
    context.cert_store = OpenSSL::X509::Store.new
    context.cert_store.add_cert(trusted) if trusted
    socket = TCPSocket.new("127.0.0.1", port(server))
    client = closing(OpenSSL::SSL::SSLSocket.new(socket, context))
    client.sync_close = true
    client.hostname = "localhost"
    client
  end

  def port(server)
    server.to_io.local_address.ip_port
  end

  each_backend do |_backend|
    it "20 clients make their handshakes and exchanges at the same time, byte for byte" do
      clients = 20
      shaken = 0
      answers = {}
      scheduled do
        server = tls_server
        serve(server, clients) do |connection|
          connection.accept
          shaken += 1
          eventually { shaken == clients } # the server serves nobody before all clients are there
          size = connection.read(4).unpack1("N")
          connection.write(connection.read(size).reverse)
          connection.close
        end
        clients.times do |index|
          Fiber.schedule do
            client = tls_client(server).connect
            client.post_connection_check("localhost")
            client.write([100_000 + index].pack("N"), pattern(100_000 + index, index))
            answers[index] = client.read
            client.close
          end
        end
      end
      expect(answers.size).to eq(clients)
      answers.each { |index, answer| expect(answer.reverse == pattern(100_000 + index, index)).to be(true) }
    end

    it "one connection carries 2 MB in each direction at once, more than the socket buffers hold" do
      sent = pattern(2_000_000)
      received = +""
      scheduled do
        server = tls_server
        serve(server, 1) do |connection|
          connection.accept
          connection.write(connection.readpartial(65_536)) until connection.eof?
          connection.close
        end
        client = tls_client(server).connect
        Fiber.schedule { client.write(sent) }
        received << client.readpartial(65_536) while received.bytesize < sent.bytesize
        client.close
      end
      expect(received == sent).to be(true)
    end

    it "lines arrive in the order in which the peers write them, whatever the order of the readers" do
      order = []
      scheduled do
        server = tls_server
        serve(server, 3) do |connection|
          connection.accept
          order << connection.gets.chomp
          connection.puts("thanks")
          connection.close
        end
        clients = Array.new(3) { tls_client(server).connect }
        [2, 0, 1].each do |index|
          clients[index].puts("line #{index}")
          clients[index].gets
        end
      end
      expect(order).to eq(["line 2", "line 0", "line 1"])
    end

    { "closes its socket" => ->(socket) { socket.close },
      "resets its connection" => lambda { |socket|
        socket.setsockopt(Socket::Option.linger(true, 0))
        socket.close
      } }.each do |way, vanish|
      it "a client that #{way} amid a line raises the same as without a scheduler, and the server serves the others" do
        # The server's error when a client has gone.
        met = lambda do |connection|
          connection.accept
          raised { connection.readline }
        end
        expected = in_thread do
          server = tls_server(max_version: :TLS1_2)
          serving = Thread.new { met.call(server.accept) }
          client = tls_client(server).connect
          client.write("half a line")
          vanish.call(client.to_io)
          serving.value
        end

        seen = []
        scheduled do
          server = tls_server(max_version: :TLS1_2) # later ones send more after the handshake, unread by our client
          serve(server, 2) { |connection| seen << met.call(connection) }
          vanishing = tls_client(server).connect
          staying = tls_client(server).connect
          vanishing.write("half a line")
          vanish.call(vanishing.to_io)
          eventually { seen.any? }
          staying.puts("a whole line")
          eventually { seen.size == 2 }
        end
        expect(expected).to be_a(OpenSSL::SSL::SSLError).or be_a(SystemCallError)
        expect(seen).to match([have_attributes(class: expected.class, message: expected.message), nil])
      end
    end

    it "a Timeout ends a handshake that the peer does not make, on either side, while others make theirs" do
      order = []
      scheduled do
        server = tls_server
        serve(server, 2) do |connection|
          start = monotonic
          error = raised { Timeout.timeout(0.05) { connection.accept } }
          order << (error ? [error.class, monotonic - start >= 0.05] : :handshake)
        end
        silent = closing(TCPSocket.new("127.0.0.1", port(server)))
        tls_client(server).connect
        eventually { order.size == 2 }

        mute = tcp_server
        expect { Timeout.timeout(0.02) { tls_client(mute).connect } }.to raise_error(Timeout::Error)
        expect(silent).not_to be_closed
      end
      expect(order).to eq([:handshake, [Timeout::Error, true]])
    end

    it "IO#timeout of the underlying socket ends a read with IO::TimeoutError, and the connection works afterwards" do
      scheduled do
        server = tls_server
        gate = Thread::Queue.new
        serve(server, 1) do |connection|
          connection.accept
          gate.pop
          connection.puts("late")
        end
        client = tls_client(server).connect
        client.to_io.timeout = 0.02
        start = monotonic
        expect { client.gets }.to raise_error(IO::TimeoutError)
        expect(monotonic - start).to be >= 0.02
        client.to_io.timeout = nil
        gate << :go
        expect(client.gets).to eq("late\n")
      end
    end

    it "an untrusted certificate raises SSLError on both sides, and only in these fibers" do
      results = {}
      scheduled do
        server = tls_server
        serve(server, 2) do |connection|
          error = raised { connection.accept && connection.puts("welcome") && connection.readline }
          (results[:server] ||= []) << error.class
        end
        Fiber.schedule { results[:distrustful] = raised { tls_client(server, trusted: nil).connect } }
        Fiber.schedule do
          client = tls_client(server).connect
          results[:trusting] = client.gets
          client.puts("bye")
        end
      end
      expect(results[:distrustful]).to be_a(OpenSSL::SSL::SSLError)
      expect(results[:distrustful].message).to include("certificate verify failed")
      expect(results[:trusting]).to eq("welcome\n")
      expect(results[:server]).to contain_exactly(OpenSSL::SSL::SSLError, NilClass)
    end

    it "Net::HTTP keeps five connections alive at once over TLS" do
      inside = 0
      bodies = Hash.new { |hash, index| hash[index] = [] }
      scheduled do
        server = tls_server
        serve(server, 5) do |connection|
          connection.accept
          inside += 1
          while (request = connection.gets)
            nil until connection.gets == "\r\n"
            eventually { inside == 5 }
            body = request[%r{/(\S+)}, 1] * 10_000
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\n\r\n", body)
          end
          connection.close
        end
        5.times do |index|
          Fiber.schedule do
            http = Net::HTTP.new("127.0.0.1", port(server))
            http.use_ssl = true
            http.verify_hostname = false
            http.cert_store = OpenSSL::X509::Store.new.add_cert(@certificate)
            http.start { 3.times { |round| bodies[index] << http.get("/#{index}#{round}").body } }
          end
        end
      end
      expect(bodies.size).to eq(5)
      bodies.each { |index, got| expect(got == Array.new(3) { |round| "#{index}#{round}" * 10_000 }).to be(true) }
    end
  end
end
