# frozen_string_literal: true

# Sends files over a socket. For each file one chain opens, reads, sends and closes it. On io_uring the kernel does all
# of that without the program.
#
#   ruby -Ilib examples/ring/chain.rb [--files N] [--backend io_uring|epoll|poll|select]

require "optparse"
require "socket"
require "tmpdir"
require "uring_io"
require_relative "section"

SIZE = 4096

options = { files: 16, backend: nil }
OptionParser.new do |parser|
  parser.on("--files N", Integer, "of 4 KB each, at most 32 (default 16)") { |number| options[:files] = number }
  parser.on("--backend NAME") { |name| options[:backend] = name }
end.parse!
# The peer reads only after all files are sent, so they must fit into the socket's buffer.
abort "chain: --files must be from 1 to 32, #{options[:files]} given" unless options[:files].between?(1, 32)

def send_file(ring, path, socket)
  ring.chain do |c|
    file = c.open(path)
    c.send(socket, c.read(file, SIZE))
    c.close(file)
  end
end

begin
  ring = UringIO::Ring.new(backend: options[:backend])
  Dir.mktmpdir do |folder|
    paths = Array.new(options[:files]) { |index| File.join(folder, index.to_s) }
    paths.each_with_index { |path, index| File.binwrite(path, index.chr * SIZE) }
    socket, peer = UNIXSocket.pair

    # The first chain makes the ring's table of descriptors.
    send_file(ring, paths.first, socket)
    peer.read(SIZE)

    section = Section.measure(ring) { paths.each { |path| send_file(ring, path, socket) } }
    socket.close
    right = peer.read == paths.map { |path| File.binread(path) }.join
    puts "#{paths.size} files of #{SIZE} bytes sent on #{ring.backend}, #{right ? 'all' : 'NOT all'} as they are"
    puts section
  end
rescue UringIO::Error, ArgumentError, SystemCallError => error
  abort "chain: #{error.message}"
ensure
  ring&.close
end
