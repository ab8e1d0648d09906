# frozen_string_literal: true

# An echo server, which spends most of its time in system calls. It prints its port, serves twenty clients, and ends.
# URING_IO_BACKEND selects its backend.
#
#   URING_IO_BACKEND=epoll ruby echo_server.rb
#   ruby echo_clients.rb PORT

require "socket"
require "uring_io"

server = TCPServer.new("127.0.0.1", 0)
puts server.local_address.ip_port
$stdout.flush

UringIO.run do
  20.times do
    socket = server.accept
    Fiber.schedule do
      while (bytes = socket.readpartial(64))
        socket.write(bytes)
      end
    rescue EOFError
      socket.close
    end
  end
end
