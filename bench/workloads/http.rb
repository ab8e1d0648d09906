# frozen_string_literal: true

require_relative "../program"

RESPONSE = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 19\r\n\r\nHello from a fiber\n"

def serve(bench, socket)
  while bench.op { answer(socket) }
  end
ensure
  socket.close
end

# Answers a request. Returns nil when the client has closed the connection.
def answer(socket)
  line = socket.gets or return
  line = socket.gets until line == "\r\n"
  socket.write(RESPONSE)
end

# A server in plain Ruby, to which wrk sends requests over kept connections. An operation lasts from one answer to the
# next on the same connection, so it includes wrk's own time.
Bench.missing("wrk is not installed") unless Bench.executable?("wrk")
Bench.program do |b|
  server = TCPServer.new("127.0.0.1", 0)
  b.spawn do
    loop do
      socket = server.accept
      b.spawn { serve(b, socket) }
    end
  end
  url = "http://127.0.0.1:#{server.local_address.ip_port}/"
  Process.spawn("wrk", "--threads", "1", "--connections", b.connections.to_s, "--duration", "60s", url,
                out: File::NULL)
end
