# frozen_string_literal: true

# Nothing outlives its IO. Ruby 3.3 and 3.4 tell no scheduler when an IO is closed, and Ruby 4.0 tells it of some of
# what is under way only. So the methods that close a descriptor, or give it another file, first end what schedulers,
# selectors and rings do with it, and wait until that is over: who waited gets IOError, as a thread does
# (ext/uring_io/src/classes/close.rs).
module UringIO
  # @!parse
  #   # What comes before IO#close and IO#reopen.
  #   # @api private
  #   module Close
  #     # Ends what is under way on an IO that is closed next without a call of its methods.
  #     # @param io [IO]
  #     # @return [nil]
  #     def self.end_uses(io); end
  #
  #     # As IO#close.
  #     def close; end
  #     # As IO#reopen.
  #     def reopen(*); end
  #   end
  #   # What comes before IO#close_read and IO#close_write, and those of BasicSocket.
  #   # @api private
  #   module CloseHalf
  #     # As IO#close_read.
  #     def close_read; end
  #     # As IO#close_write.
  #     def close_write; end
  #   end

  # IO.popen closes what it gave to its block without calling IO#close.
  # @api private
  module ClosePopen
    # As IO.popen.
    def popen(...)
      return super unless block_given?

      super do |io|
        yield io
      ensure
        Close.end_uses(io) if io
      end
    end
  end

  # In a block, as YARD knows no IO.
  IO.class_eval do
    prepend(Close, CloseHalf)
    singleton_class.prepend(ClosePopen)
  end
  BasicSocket.class_eval { prepend(CloseHalf) }
end
