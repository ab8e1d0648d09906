# frozen_string_literal: true

# Three clients ask a server, and each answer takes four milliseconds. Another fiber computes for ten milliseconds, and
# no other fiber runs meanwhile. This is the program of docs/visual.md:
#
#   uring_io trace --html page.html -- ruby examples/traced.rb

require "socket"
require "uring_io"

def monotonic = Process.clock_gettime(Process::CLOCK_MONOTONIC)

UringIO.run do
  server = TCPServer.new("127.0.0.1", 0)
  3.times do
    # The server: a fiber for each connection.
    Fiber.schedule do
      connection = server.accept
      while (line = connection.gets)
        sleep(0.004)
        connection.write(line)
      end
      connection.close
    end
  end

  3.times do |number|
    # A client.
    Fiber.schedule do
      server.local_address.connect do |socket|
        3.times do
          socket.write("hello\n")
          socket.gets
          sleep(0.001 * number)
        end
      end
    end
  end

  # The fiber that computes.
  Fiber.schedule do
    sleep(0.01)
    finish = monotonic + 0.01
    nil while monotonic < finish
  end
end
