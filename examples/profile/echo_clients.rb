# frozen_string_literal: true

# Twenty clients that keep echo_server.rb busy. Each one sends MESSAGES messages. Prints the messages a second.
#
#   ruby echo_clients.rb PORT [MESSAGES]

require "socket"
require "uring_io"

CLIENTS = 20
MESSAGE = "x" * 64
port = Integer(ARGV.fetch(0))
messages = Integer(ARGV.fetch(1, "2000"))

start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
UringIO.run do
  CLIENTS.times do
    Fiber.schedule do
      socket = TCPSocket.new("127.0.0.1", port)
      messages.times { socket.write(MESSAGE) && socket.readpartial(MESSAGE.size) }
      socket.close
    end
  end
end
puts (CLIENTS * messages / (Process.clock_gettime(Process::CLOCK_MONOTONIC) - start)).round
