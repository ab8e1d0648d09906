# frozen_string_literal: true

require_relative "places"

# See closes.rb.
module Closes
  # A way to wait on an IO: for which places, and what it came to: text, :ready, or nil at the end.
  #
  # +direction+ is :read, :write or :other. +lone+ says that it takes what others would wait for, or writes through
  # Ruby's lock for writers; +ends_only+ that it is for IOs that are closed under it; +ring+ that it needs a ring.
  Kind = Struct.new(:name, :direction, :places, :ring, :lone, :ends_only, :work) do
    # Waits. It gets a ring, and text to write.
    def call(io, ring, text, full) = work.call(io, ring, text, full)
  end

  KINDS = {} # rubocop:disable Style/MutableConstant

  class << self
    def kind(name, direction, places, ring: false, lone: false, ends_only: false, &work)
      KINDS[name] = Kind.new(name, direction, places, ring, lone, ends_only, work)
    end

    # The value that the block of a loop breaks with. An IO comes from the loop itself, at the end.
    def found(broken) = broken.is_a?(IO) ? nil : broken
  end

  # rubocop:disable Style/SymbolProc, Lint/UnreachableLoop, Lint/IncompatibleIoSelectWithFiberScheduler
  read = Places::READ + %i[disk]
  kind(:gets, :read, read) { |io| io.gets }
  kind(:each_line, :read, read) { |io| found(io.each_line { |line| break line }) }
  kind(:readline, :read, read) { |io| io.readline }
  kind(:getc, :read, read) { |io| io.getc }
  kind(:getbyte, :read, read) { |io| io.getbyte&.chr }
  kind(:each_char, :read, read) { |io| found(io.each_char { |char| break char }) }
  kind(:eof, :read, read) { |io| io.eof? ? nil : :ready }
  kind(:read, :read, read) { |io| io.read(48) }
  kind(:readpartial, :read, read) { |io| io.readpartial(8191) }
  kind(:sysread, :read, read) { |io| io.sysread(1023) }
  kind(:pread, :read, %i[disk]) { |io| io.pread(8191, io.pos) }
  kind(:buffer_read, :read, read) do |io|
    buffer = IO::Buffer.new(8192)
    count = buffer.read(io, 1)
    count.zero? ? nil : buffer.get_string(0, count)
  end
  kind(:wait_readable, :read, Places::READ) { |io| io.wait_readable && :ready }
  kind(:wait_priority, :read, Places::READ) { |io| io.wait(IO::READABLE | IO::PRIORITY, nil) && :ready }
  kind(:select, :read, Places::READ) { |io| IO.select([io]) && :ready }
  kind(:recv, :read, Places::SOCKET) { |io| io.recv(8191) }
  kind(:recvmsg, :read, Places::SOCKET) { |io| io.recvmsg&.first }
  # It blocks the thread where the descriptor blocks.
  kind(:copy_stream, :read, %i[unix tcp pipe fifo], lone: true, ends_only: true) do |io|
    IO.pipe { |_, writer| "#{IO.copy_stream(io, writer)} bytes" }
  end

  kind(:write, :write, Places::WRITE, lone: true) { |io, _, text| io.write(text) && :ready }
  kind(:syswrite, :write, Places::WRITE, lone: true) { |io, _, text| io.syswrite(text) && :ready }
  kind(:puts, :write, Places::WRITE, lone: true) { |io, _, text| io.puts(text).nil? && :ready }
  kind(:wait_writable, :write, Places::WRITE) { |io| io.wait_writable && :ready }
  kind(:send, :write, %i[unix], lone: true) { |io, _, text| io.send(text, 0) && :ready }
  kind(:file_write, :write, %i[written], lone: true) { |io, _, text| io.write(text * 2000) && :ready }

  kind(:accept, :other, %i[server tcp_server]) { |io| io.accept.close || :ready }
  kind(:connect, :other, %i[connecting], lone: true) { |io, _, _, full| io.connect(full) && :ready }

  # A waiter may give a descriptor's number in place of the IO.
  ring = lambda do |name, direction, places, **options, &work|
    kind(:"ring_#{name}", direction, places, ring: true, **options, &work)
    kind(:"number_#{name}", direction, places, ring: true, **options) do |io, *rest|
      work.call(io.fileno, *rest)
    end
  end
  ring.call(:read, :read, read) { |io, it| it.read(io, 8192) }
  ring.call(:readv, :read, read) do |io, it|
    buffers = Array.new(2) { IO::Buffer.new(4096) }
    count = it.readv(io, buffers)
    count.zero? ? nil : buffers.map(&:get_string).join.byteslice(0, count)
  end
  ring.call(:recv, :read, Places::SOCKET) { |io, it| it.recv(io, 8192) }
  ring.call(:poll, :read, Places::READ) { |io, it| it.poll(io, IO::READABLE) && :ready }
  ring.call(:batch, :read, Places::SOCKET, ends_only: true) do |io, it|
    found = it.batch do |b|
      b.recv(io, 8192)
      b.poll(io, IO::READABLE)
      b.nop
    end
    wrong = found.find { |one| one.is_a?(Exception) }
    wrong ? raise(wrong) : found.first
  end
  ring.call(:chain, :read, Places::SOCKET) do |io, it|
    it.chain do |c|
      c.recv(io, 16)
      c.nop
    end.first
  end
  ring.call(:recv_each, :read, Places::SOCKET) { |io, it| it.recv_each(io) { |bytes| break bytes } }
  ring.call(:read_each, :read, Places::READ) { |io, it| it.read_each(io) { |bytes| break bytes } }
  ring.call(:poll_each, :read, Places::READ) { |io, it| it.poll_each(io, IO::READABLE) { break :ready } }
  ring.call(:splice, :read, %i[blocking_pipe], ends_only: true, lone: true) do |io, it|
    IO.pipe do |reader, writer|
      writer.nonblock = false
      reader.read(it.splice(io, writer, 4096))
    end
  end
  ring.call(:send, :write, %i[unix], lone: true) { |io, it, text| it.send(io, text) && :ready }
  ring.call(:write, :write, Places::WRITE, lone: true) { |io, it, text| it.write(io, text) && :ready }
  ring.call(:accept, :other, %i[server tcp_server]) do |io, it|
    IO.for_fd(it.accept(io)).close
    :ready
  end
  ring.call(:accept_each, :other, %i[server tcp_server]) do |io, it|
    it.accept_each(io) { |number| break IO.for_fd(number).close || :ready }
  end
  ring.call(:connect, :other, %i[connecting], lone: true) { |io, it, _, full| it.connect(io, full) && :ready }

  # rubocop:enable Style/SymbolProc, Lint/UnreachableLoop, Lint/IncompatibleIoSelectWithFiberScheduler

  KINDS.freeze
end
