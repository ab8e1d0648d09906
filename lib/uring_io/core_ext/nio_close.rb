# frozen_string_literal: true

module UringIO
  module NIO
    # Prepended to IO, before its methods that close a descriptor or give it another file. Each selector that watches
    # the IO lets go of its file first: on io_uring an armed watch keeps the file open, and after the close the peer
    # would not see the end of the connection. For an IO without watches that costs one look at an instance variable.
    # Only nio/watch.rb, which makes the watches, requires this file.
    # @api private
    module Close
      # Like IO#close.
      def close
        @uring_io_watches&.keys&.each(&:closing)
        super
      end

      # Like IO#reopen.
      def reopen(...)
        Close.released(@uring_io_watches) { super }
      end
    end

    # Like Close, for the methods that close half of an IO. BasicSocket has its own versions of these.
    # @api private
    module CloseHalf
      # Like IO#close_read.
      def close_read
        Close.released(@uring_io_watches) { super }
      end

      # Like IO#close_write.
      def close_write
        Close.released(@uring_io_watches) { super }
      end
    end

    # Runs the block while no poller keeps a file open for these watches.
    # @api private
    def Close.released(watches)
      watches = watches&.keys or return yield

      watches.each(&:release)
      begin
        yield
      ensure
        watches.each(&:changed)
      end
    end

    # With a block, because YARD does not know the class IO.
    IO.class_eval { prepend(Close, CloseHalf) }
    BasicSocket.class_eval { prepend(CloseHalf) }
    private_constant :Close, :CloseHalf
  end
end
