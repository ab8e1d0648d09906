# frozen_string_literal: true

module UringIO
  class Ring
    # Calls that bring result after result. On io_uring one submission brings them all (multishot), and takes a buffer
    # only when data is there. Other backends and older kernels make the call again and again. Each method yields until
    # the block breaks, the input ends or the call fails, which raises. Without a block it returns an Enumerator.
    # +timeout+ is in seconds between two results: the method raises IO::TimeoutError when it passes.
    #
    # The ring takes at most 256 results from the kernel ahead of the block. When the block breaks, the ring drops those
    # that it has not yielded, and closes them if they are connections.
    module Streams
      # Yields connections, as Operations#accept (multishot: Linux 5.19).
      # @yieldparam descriptor [Integer] close-on-exec; the block has to close it: Socket.for_fd makes a Socket of it
      def accept_each(io, timeout: nil, &block)
        return enum_for(:accept_each, io, timeout:) unless block

        server = descriptor(io)
        return if stream(Call.accept_each(server), timeout, &block)

        repeat(block) { accept(io, timeout:) }
      end

      # Yields the bytes that a socket receives, in pieces of up to 16 KiB (multishot: Linux 6.0).
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

      # Yields what a descriptor is ready for (multishot: Linux 5.13). io_uring reports events that are there at the
      # start once, and then each new one. The other backends report events again as long as they are there.
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

      # The kernel reads over and over only from files that poll(2) can wait for (io_uring/rw.c, io_read_mshot).
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
