# frozen_string_literal: true

# Reads 10,000 pages of a file and sends them to a socket. A thread of the kernel takes the submissions from the queue,
# so a warm ring makes no system calls. It is faster only when there are processors to spare.
#
#   ruby -Ilib examples/ring/sqpoll.rb [--pages N]

require "optparse"
require "socket"
require "tempfile"
require "uring_io"
require_relative "section"

SIZE = 4096
FILE_PAGES = 256

# @return [Integer] bytes that arrived at the other end of the socket
def pump(ring, file, sockets, memory, pages)
  socket, peer = sockets
  (0...pages).sum do |page|
    ring.read(file, memory, offset: page % FILE_PAGES * SIZE)
    ring.send(socket, memory)
    ring.recv(peer, memory)
  end
end

pages = 10_000
OptionParser.new do |parser|
  parser.on("--pages N", Integer, "how many (default 10,000)") { |number| pages = number }
end.parse!

begin
  # Otherwise Ruby reads the clock at each collection of garbage, and that is a system call.
  GC.measure_total_time = false
  ring = UringIO::Ring.new(backend: :io_uring, sqpoll: true, sqpoll_idle: 10)
  Tempfile.create("sqpoll") do |file|
    FILE_PAGES.times { |page| file.write([page].pack("N") * (SIZE / 4)) }
    file.flush
    sockets = UNIXSocket.pair
    memory = IO::Buffer.new(SIZE)
    pump(ring, file, sockets, memory, pages)
    GC.start

    bytes = 0
    section = Section.measure(ring) { bytes = pump(ring, file, sockets, memory, pages) }
    puts "#{pages} reads, and sends of #{bytes / SIZE} pages"
    puts section
  end
rescue UringIO::Error, ArgumentError, SystemCallError => error
  abort "sqpoll: #{error.message}"
ensure
  ring&.close
end
