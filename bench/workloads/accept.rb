# frozen_string_literal: true

require_relative "../program"

CLIENTS = 4

# Accepts and closes connections that another process makes. That process resets them, so that none keeps a port.
server = TCPServer.new("127.0.0.1", 0)
Bench.peer do
  address = server.local_address
  server.close
  reset = Socket::Option.linger(true, 0)
  clients = Array.new(CLIENTS) do
    Thread.new do
      loop do
        socket = address.connect
        socket.setsockopt(reset)
        socket.read
        socket.close
      end
    end
  end
  clients.each(&:join)
end
Bench.program do |b|
  b.spawn { loop { b.op { server.accept.close } } }
end
