# frozen_string_literal: true

require "io/console"
require "io/nonblock"
require "pty"
require "socket"

module Closes
  # An IO that is going to be closed, and the other end of it; how the peer learns of the end, :write or :read; and what
  # a file has from its place on.
  Place = Struct.new(:name, :ours, :peer, :told_by, :content, :path)

  # Makes them. One for each lane.
  class Places
    # For those that read, write, or do else.
    READ = %i[unix tcp pipe blocking_pipe fifo terminal master].freeze
    WRITE = %i[unix pipe_end blocking_pipe_end terminal].freeze
    SOCKET = %i[unix tcp].freeze

    # Two files, so that one's bytes are known from the other's.
    FILES = %w[A B].to_h { |name| [name, Array.new(1 << 15) { |n| format("#{name}%014d\n", n) }.join.freeze] }.freeze

    attr_reader :full

    def initialize(stint, lane)
      @stint = stint
      @prefix = File.join(stint.folder, "lane-#{lane}-")
      @made = 0
      FILES.each { |name, text| File.open(file(name), "wb") { |io| io.write(text) && io.fsync } }
      File.mkfifo(file("fifo"))
      @server = TCPServer.new("127.0.0.1", 0)
      fill_a_backlog
    end

    def file(name) = "#{@prefix}#{name}"

    def fresh(name) = file("#{name}-#{@made += 1}")

    def close = [@server, *@full_ones].each(&:close)

    def make(name) = Place.new(name, *public_send(name))

    def unix = [*UNIXSocket.pair, either]

    def tcp
      client = TCPSocket.new("127.0.0.1", @server.local_address.ip_port)
      [*[client, @server.accept].shuffle(random: @stint.random), either]
    end

    def pipe = [*IO.pipe, :write]

    def blocking_pipe = [*blocking(IO.pipe), :write]

    def pipe_end = [*IO.pipe.reverse, :read]

    def blocking_pipe_end = [*blocking(IO.pipe).reverse, :read]

    def fifo
      reader = File.open(file("fifo"), File::RDONLY | File::NONBLOCK)
      [reader, File.open(file("fifo"), File::WRONLY | File::NONBLOCK), :write]
    end

    def terminal
      master, terminal = PTY.open
      terminal.raw!
      [terminal, master, :read]
    end

    def master
      ours, peer, = terminal.values_at(1, 0)
      [ours, peer, :read]
    end

    # A file that must come from the disk.
    def disk
      io = File.open(file("A"), "rb")
      io.advise(:dontneed)
      at = @stint.random.rand((FILES["A"].bytesize / 2) / 16) * 16
      io.seek(at)
      [io, nil, nil, FILES["A"].byteslice(at..)]
    end

    def written
      path = fresh("written")
      [File.open(path, "wb").tap { |io| io.sync = true }, nil, nil, nil, path]
    end

    def server
      path = fresh("server")
      [UNIXServer.new(path), nil, :connect, nil, path]
    end

    def tcp_server = [TCPServer.new("127.0.0.1", 0), nil, nil]

    # A socket that connects and waits, as nobody accepts.
    def connecting = [Socket.new(:INET, :STREAM), nil, nil]

    private

    def either = @stint.random.rand(2).zero? ? :read : :write

    def blocking(ios) = ios.each { |io| io.nonblock = false }

    def fill_a_backlog
      listener = Socket.new(:INET, :STREAM)
      listener.bind(Addrinfo.tcp("127.0.0.1", 0))
      listener.listen(0)
      @full = listener.local_address
      @full_ones = Array.new(3) { Socket.new(:INET, :STREAM) }.unshift(listener)
      @full_ones.drop(1).each { |socket| socket.connect_nonblock(@full, exception: false) }
    end
  end
end
