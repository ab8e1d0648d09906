# frozen_string_literal: true

# A selector for nio4r's users watches descriptors. On io_uring a watch keeps the file open, and the peer would see no
# end. So closing an IO ends its watches first. An IO without watches costs one look at an instance variable. Only
# nio/watch.rb, which makes the watches, requires this file.
module UringIO
  # See nio/selector.rb.
  module NIO
    # Comes before the methods of IO that close a descriptor or give it another file. Each selector that watches the IO
    # lets go of it first.
    # @api private
    module Close
      # As IO#close.
      def close
        @uring_io_watches&.keys&.each(&:closing)
        super
      end

      # As IO#reopen.
      def reopen(...)
        Close.released(@uring_io_watches) { super }
      end
    end

    # As Close, where half of an IO is closed. BasicSocket has methods of its own for that.
    # @api private
    module CloseHalf
      # As IO#close_read.
      def close_read
        Close.released(@uring_io_watches) { super }
      end

      # As IO#close_write.
      def close_write
        Close.released(@uring_io_watches) { super }
      end
    end

    # Runs the block while no poller has a file open by these watches.
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

    # In a block, as YARD knows no IO.
    IO.class_eval { prepend(Close, CloseHalf) }
    BasicSocket.class_eval { prepend(CloseHalf) }
    private_constant :Close, :CloseHalf
  end
end
