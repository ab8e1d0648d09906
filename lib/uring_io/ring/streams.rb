# frozen_string_literal: true

module UringIO
  class Ring
    # Calls that bring something over and over. On io_uring one submission does it, until it is ended (multishot), and
    # what is received takes a buffer only when it is there; elsewhere, and on kernels that cannot, the call is made
    # again and again. Each yields until the block breaks, the input ends or the call fails, which raises. Without a
    # block it returns an Enumerator. +timeout+ is in seconds between two of them: IO::TimeoutError when it passes.
    #
    # What came before the block broke and was not yielded is lost, or closed when it is a connection. At most 256 of
    # them are taken from the kernel ahead of the block.
    module Streams
      # Connections, as Operations#accept (multishot: Linux 5.19).
      # @yieldparam descriptor [Integer] close-on-exec, and the block's to close: Socket.for_fd makes a Socket of it
      def accept_each(io, timeout: nil, &block)
        return enum_for(:accept_each, io, timeout:) unless block

        server = descriptor(io)
        return if stream(Call.accept_each(server), timeout, &block)

        repeat(block) { accept(io, timeout:) }
      end

      # What a socket receives, in pieces of up to 16 KiB (multishot: Linux 6.0).
      # @yieldparam bytes [String] in binary
      # @return [nil] at the end
      def recv_each(io, flags = 0, timeout: nil, &block)
        return enum_for(:recv_each, io, flags, timeout:) unless block

        socket = descriptor(io)
        return if stream(Call.recv_each(socket, flags), timeout, &block)

        repeat(block) { recv(io, PIECE, flags, timeout:) }
      end

      # What can be read, in pieces of up to 16 KiB (multishot: Linux 6.7, for what can be waited for).
      # @yieldparam bytes [String] in binary
      # @return [nil] at the end
      def read_each(io, timeout: nil, &block)
        return enum_for(:read_each, io, timeout:) unless block

        source = descriptor(io)
        return if pollable?(source) && stream(Call.read_each(descriptor(io)), timeout, &block)

        repeat(block) { read(io, PIECE, timeout:) }
      end

      # What a descriptor is ready for (multishot: Linux 5.13). On io_uring once for what is ready at the start, then
      # each time that something new comes; elsewhere as long as it is ready.
      # @param events [Integer] a sum of IO::READABLE, IO::PRIORITY and IO::WRITABLE
      # @yieldparam events [Integer] those that are there
      def poll_each(io, events, timeout: nil, &block)
        return enum_for(:poll_each, io, events, timeout:) unless block

        source = descriptor(io)
        return if stream(Call.poll_each(source, events), timeout, &block)

        repeat(block) { poll(io, events, timeout:) }
      end

      PIECE = 16_384
      private_constant :PIECE

      private

      # Reading over and over is for what can be waited for (io_uring/rw.c, io_read_mshot).
      def pollable?(descriptor)
        !stat(descriptor).file?
      rescue UnsupportedError
        false # under a scheduler with restrict:, which has neither
      end

      def repeat(block)
        while (found = yield)
          block.call(found)
        end
      end
    end
  end
end
