# frozen_string_literal: true

require_relative "../program"

ACTIVE_PERCENT = 1
MESSAGE = "x" * 512

# Many connections wait. On a few of them another process exchanges 512 bytes: on all of these at once, again and again.
count = ARGV.last.to_i
server = TCPServer.new("127.0.0.1", 0)
Bench.peer do
  address = server.local_address
  server.close
  sockets = Array.new(count) { address.connect }
  active = sockets.first(count * ACTIVE_PERCENT / 100)
  loop do
    active.each { |socket| socket.write(MESSAGE) }
    answers = active.map { |socket| socket.readpartial(512).bytesize }
    raise "an answer is short" unless answers.all?(512)
  end
end
Bench.program do |b|
  GC.start
  before = Bench.memory("VmRSS")
  sockets = Array.new(b.connections) { server.accept }
  sockets.each do |socket|
    b.spawn { loop { b.op { socket.write(socket.readpartial(512)) } } }
  end
  b.extra { { kb_per_connection: ((Bench.memory("VmRSS") - before) / b.connections.to_f).round(2) } }
end
