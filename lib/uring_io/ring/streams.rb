# frozen_string_literal: true

module UringIO
  class Ring
    # Calls with many results. On io_uring, one submission brings all of them (multishot), and uses a buffer only when
    # data is there. On other backends and older kernels, the ring makes the call again and again. Each method yields
    # until the block breaks, the input ends, or the call fails and raises. Without a block it returns an Enumerator.
    # +timeout+ is the most seconds between two results: when it passes, the method raises IO::TimeoutError.
    #
    # The ring takes at most 256 results from the kernel ahead of the block. When the block breaks, the ring drops the
    # results that it has not yielded, and closes those that are connections.
    module Streams
      # Yields connections, like Operations#accept (multishot: Linux 5.19).
      # @yieldparam descriptor [Integer] close-on-exec; the block has to close it: Socket.for_fd makes a Socket of it
      def accept_each(io, timeout: nil, &block)
        return enum_for(:accept_each, io, timeout:) unless block

        server = descriptor(io)
        return if stream(Call.accept_each(server), timeout, &block)

        repeat(block) { accept(io, timeout:) }
      end

      # Yields the bytes that a socket receives, in pieces of up to 16 KiB (multishot: Linux 6.0). An empty datagram
      # ends it: call Operations#recvmsg in a loop where peers may send one.
      # @yieldparam bytes [String] in binary
      # @return [nil] at the end
      def recv_each(io, flags = 0, timeout: nil, &block)
        return enum_for(:recv_each, io, flags, timeout:) unless block

        socket = descriptor(io)
        return if stream(Call.recv_each(socket, flags), timeout, &block)

        repeat(block) { recv(io, PIECE, flags, timeout:) }
      end

      # Yields the bytes that it reads, in pieces of up to 16 KiB (multishot: Linux 6.7, not for regular files).
      # @yieldparam bytes [String] in binary
      # @return [nil] at the end
      def read_each(io, timeout: nil, &block)
        return enum_for(:read_each, io, timeout:) unless block

        source = descriptor(io)
        return if pollable?(source) && stream(Call.read_each(descriptor(io)), timeout, &block)

        repeat(block) { read(io, PIECE, timeout:) }
      end

      # Yields the events that a descriptor is ready for (multishot: Linux 5.13). io_uring reports the events that are
      # there at the start, and after that only new ones. The other backends report an event again as long as it lasts.
      # @param events [Integer] a sum of IO::READABLE, IO::PRIORITY and IO::WRITABLE
      # @yieldparam events [Integer] the events that are there
      def poll_each(io, events, timeout: nil, &block)
        return enum_for(:poll_each, io, events, timeout:) unless block

        source = descriptor(io)
        return if stream(Call.poll_each(source, events), timeout, &block)

        repeat(block) { poll(io, events, timeout:) }
      end

      PIECE = 16_384
      private_constant :PIECE

      private

      # A multishot read works only for files that poll(2) can wait for (io_uring/rw.c, io_read_mshot).
      def pollable?(descriptor)
        !stat(descriptor).file?
      rescue UnsupportedError
        false # A scheduler with restrict: allows neither #stat nor multishot reads.
      end

      def repeat(block)
        while (found = yield)
          block.call(found)
        end
      end
    end
  end
end
