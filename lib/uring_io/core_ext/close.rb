# frozen_string_literal: true

# No operation outlives its IO. Ruby 3.3 and 3.4 tell no scheduler of a close, and Ruby 4.0 tells it of some operations
# only. So the methods that close a descriptor, or give it another file, first end the operations of schedulers,
# selectors and rings on it, and wait until these are over. Fibers that wait get IOError, as threads do
# (ext/uring_io/src/classes/close.rs).
module UringIO
  # @!parse
  #   # Prepended to IO, before IO#close and IO#reopen.
  #   # @api private
  #   module Close
  #     # Ends the operations on an IO before the caller closes it without a call of its methods.
  #     # @param io [IO]
  #     # @return [nil]
  #     def self.end_uses(io); end
  #
  #     # As IO#close.
  #     def close; end
  #     # As IO#reopen.
  #     def reopen(*); end
  #   end
  #   # Prepended to IO and BasicSocket, before their close_read and close_write.
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
