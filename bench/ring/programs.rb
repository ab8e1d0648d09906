# frozen_string_literal: true

# bench/ring/run starts this. It runs one row on one target, for some seconds. Prints how many operations it made, in
# how many seconds, and how many seconds of processor time it used.
#
#   ruby -Ilib bench/ring/programs.rb ROW TARGET SECONDS FOLDER

require "fileutils"
require "socket"
require "uring_io"

# The programs of the rows. Each one counts its operations.
module Programs
  SIZE = 4096
  FILES = 10_000
  BATCH = 64

  class << self
    attr_accessor :operations

    def run(row, target, folder)
      kind, depth = row.split("-")
      case kind
      when "warm", "direct" then reads(kind == "direct", Integer(depth), target, folder)
      else public_send(kind, target, folder)
      end
    end

    # Reads random pages of a large file.
    def reads(direct, depth, target, folder)
      file = File.open(File.join(folder, "large"), direct ? File::RDONLY | File::DIRECT : File::RDONLY)
      pages = file.size / SIZE
      case target
      when "pread" then loop { pread(file, pages, buffer, direct) }
      when "8 threads"
        threads = Array.new(8) { Thread.new { memory = buffer and loop { pread(file, pages, memory, direct) } } }
        threads.each(&:join)
      else ring_reads(file, pages, depth, target)
      end
    end

    # Copies files of a few KB each from one folder to another: one at a time, or with a ring in batches.
    def copy(target, folder)
      names = (0...FILES).map(&:to_s)
      from = File.join(folder, "small")
      into = File.join(folder, "copies")
      ring = UringIO::Ring.new unless target == "FileUtils"
      loop do
        FileUtils.rm_rf(into)
        Dir.mkdir(into)
        if ring
          names.each_slice(BATCH) { |slice| copy_batch(ring, slice, from, into) }
        else
          names.each do |name|
            FileUtils.cp("#{from}/#{name}", "#{into}/#{name}")
            count(1)
          end
        end
      end
    end

    # Accepts connections that clients in other processes make and end.
    def accept(target, _folder)
      server = TCPServer.new("127.0.0.1", 0)
      client(server) { |address| loop { Socket.tcp(*address, &:read) } }
      if target == "accept_each"
        ring = UringIO::Ring.new
        ring.accept_each(server) do |descriptor|
          IO.for_fd(descriptor).close
          count(1)
        end
      else
        loop do
          server.accept.close
          count(1)
        end
      end
    end

    # Receives bytes that another process sends in pieces of 1 KB.
    def receive(target, _folder)
      server = TCPServer.new("127.0.0.1", 0)
      client(server, 1) do |address|
        piece = "x" * 1024
        Socket.tcp(*address) { |socket| loop { socket.write(piece) } }
      end
      socket = server.accept
      if target == "recv_each"
        UringIO::Ring.new.recv_each(socket) { |bytes| count(bytes.bytesize / 1024.0) }
      else
        loop { count(socket.readpartial(16_384).bytesize / 1024.0) }
      end
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

    private

    def count(number) = @operations += number

    def buffer = IO::Buffer.new(SIZE, IO::Buffer::MAPPED)

    # O_DIRECT needs memory that begins at a page boundary, so it reads into a buffer.
    def pread(file, pages, buffer, direct)
      offset = rand(pages) * SIZE
      direct ? buffer.pread(file, offset, SIZE) : file.pread(SIZE, offset)
      count(1)
    end

    def ring_reads(file, pages, depth, target)
      ring = UringIO::Ring.new
      buffers = Array.new(depth) { buffer }
      fixed = buffers.map { |memory| ring.register(memory) } if target == "Ring, registered"
      loop do
        ring.batch! do |batch|
          depth.times do |number|
            offset = rand(pages) * SIZE
            case target
            when "Ring, strings" then batch.read(file, SIZE, offset:)
            when "Ring, registered" then batch.read_fixed(file, fixed[number], offset:)
            else batch.read(file, buffers[number], offset:)
            end
          end
        end
        count(depth)
      end
    end

    def copy_batch(ring, names, from, into)
      sources = ring.batch! { |b| names.each { |name| b.open("#{from}/#{name}") } }
      targets = ring.batch! { |b| names.each { |name| b.open("#{into}/#{name}", "w") } }
      contents = ring.batch! { |b| sources.each { |source| b.read(source, 16_384) } }
      ring.batch! { |b| targets.zip(contents) { |descriptor, content| b.write(descriptor, content) } }
      ring.batch! { |b| [*sources, *targets].each { |descriptor| b.close_descriptor(descriptor) } }
      count(names.size)
    end

    # Starts processes that run the block until this process ends.
    def client(server, number = 2)
      address = server.local_address.ip_unpack
      leash, held = IO.pipe
      number.times do
        fork do
          [held, server].each(&:close)
          Thread.new { leash.read and exit!(0) }
          yield address
        rescue SystemCallError
          exit!(0)
        end
      end
      @held = held
    end
  end
end

def processor = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)

row, target, seconds, folder = ARGV
Programs.operations = 0
main = Thread.new { Programs.run(row, target, folder) }
main.report_on_exception = true
sleep(0.3)
before = [Programs.operations, Programs.now, processor]
sleep(Float(seconds))
after = [Programs.operations, Programs.now, processor]
abort "the program has ended" unless main.alive?
puts after.zip(before).map { |late, early| late - early }.join(" ")
$stdout.flush
exit!(0) # without a clean end of the thread, which nobody needs
