# frozen_string_literal: true

# An echo server and its clients, on one thread and one ring. One submission accepts all connections, and one more for
# each connection receives all its messages.
#
#   ruby -Ilib examples/ring/recv_each.rb [--clients N] [--messages N] [--backend io_uring|epoll|poll|select]

require "optparse"
require "socket"
require "uring_io"
require_relative "section"

options = { clients: 10, messages: 100, backend: nil }
OptionParser.new do |parser|
  parser.on("--clients N", Integer, "at the same time (default 10)") { |number| options[:clients] = number }
  parser.on("--messages N", Integer, "of each client (default 100)") { |number| options[:messages] = number }
  parser.on("--backend NAME") { |name| options[:backend] = name }
end.parse!

def echo(ring, socket)
  ring.recv_each(socket) { |bytes| ring.send(socket, bytes, Socket::MSG_WAITALL) }
ensure
  socket.close
end

# Accepts +clients+ connections, and starts a fiber for each.
def serve(ring, server, clients)
  accepted = 0
  ring.accept_each(server) do |descriptor|
    Fiber.schedule { echo(ring, Socket.for_fd(descriptor)) }
    break if (accepted += 1) == clients
  end
end

# @return [Integer] how many messages came back unchanged
def talk(address, name, messages)
  address.connect do |socket|
    messages.times.count do |number|
      message = "#{name}, #{number}\n"
      socket.write(message)
      socket.gets == message
    end
  end
end

begin
  UringIO.run(backend: options[:backend]) do |scheduler|
    clients, messages = options.values_at(:clients, :messages)
    ring = UringIO::Ring.new(backend: options[:backend])
    server = TCPServer.new("127.0.0.1", 0)
    results = Queue.new
    right = 0
    # In fibers the ring's calls go through the scheduler's own ring, so we measure the scheduler.
    section = Section.measure(scheduler) do
      Fiber.schedule { serve(ring, server, clients) }
      clients.times do |number|
        Fiber.schedule { results << talk(server.local_address, "client #{number}", messages) }
      end
      right = clients.times.sum { results.pop }
    end
    puts "#{right} of #{clients * messages} messages came back right on #{scheduler.backend}"
    puts section
  end
rescue UringIO::Error, ArgumentError, SystemCallError => error
  abort "recv_each: #{error.message}"
end
