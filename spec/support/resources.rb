# frozen_string_literal: true

require "fileutils"
require "socket"
require "tmpdir"

# Pipes, sockets and files for one example. They are closed and removed after it in any case.
module Resources
  # Returns the IO, and closes it after the example.
  def closing(io)
    opened << io
    io
  end

  def pipe
    IO.pipe.each { |io| closing(io) }
  end

  def unix_pair
    UNIXSocket.pair.each { |io| closing(io) }
  end

  def tcp_server
    closing(TCPServer.new("127.0.0.1", 0))
  end

  def tcp_pair
    server = TCPServer.new("127.0.0.1", 0)
    client = closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
    [client, closing(server.accept)]
  ensure
    server.close
  end

  # An unused path, in a directory of the example's own.
  def free_path(name = "file")
    @directory ||= Dir.mktmpdir("uring_io-spec")
    @names = (@names || 0) + 1
    File.join(@directory, "#{@names}-#{name}")
  end

  def file_with(content)
    free_path.tap { |path| File.binwrite(path, content) }
  end

  # Random bytes, so that an example notices misplaced ones.
  def pattern(size, seed = 0)
    Random.new(seed).bytes(size)
  end

  # Fills a pipe or socket until a write would wait. Returns the number of bytes.
  def fill(io)
    written = 0
    chunk = "x" * 65_536
    loop do
      result = io.write_nonblock(chunk, exception: false)
      return written if result == :wait_writable

      written += result
    end
  end

  # Takes the available bytes from a socket, without a hook.
  def drain(socket)
    nil until socket.recv_nonblock(65_536, exception: false) == :wait_readable
  end

  def release_resources
    opened.each do |io|
      io.close
    rescue SystemCallError, IOError
      # Closing flushes, and the other end may have gone.
    end
    opened.clear
    FileUtils.remove_entry(@directory) if @directory
    @directory = nil
  end

  private

  def opened
    @opened ||= []
  end
end

RSpec.configure do |config|
  config.include Resources
  config.after { release_resources }
end
