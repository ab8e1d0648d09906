# frozen_string_literal: true

module UringIO
  # No operation outlives its IO. Ruby 3.3 and 3.4 do not tell a scheduler about a close, and Ruby 4.0 does so for some
  # operations only. So the methods that close a descriptor, or give it another file, first end the operations of
  # schedulers, selectors and rings on it, and wait until these are over. Fibers that wait for them get IOError, as
  # threads do (ext/uring_io/src/classes/close.rs).

  # @!parse
  #   # Prepended to IO, before IO#close and IO#reopen.
  #   # @api private
  #   module Close
  #     # Ends the operations on an IO, for a caller that then closes it without its methods.
  #     # @param io [IO]
  #     # @return [nil]
  #     def self.end_uses(io); end
  #
  #     # Like IO#close.
  #     def close; end
  #     # Like IO#reopen.
  #     def reopen(*); end
  #   end
  #   # Prepended to IO and BasicSocket, before their close_read and close_write.
  #   # @api private
  #   module CloseHalf
  #     # Like IO#close_read.
  #     def close_read; end
  #     # Like IO#close_write.
  #     def close_write; end
  #   end

  # IO.popen closes the IO that its block got, without calling IO#close.
  # @api private
  module ClosePopen
    # Like IO.popen.
    def popen(...)
      return super unless block_given?

      super do |io|
        yield io
      ensure
        Close.end_uses(io) if io
      end
    end
  end

  # With a block, because YARD does not know the class IO.
  IO.class_eval do
    prepend(Close, CloseHalf)
    singleton_class.prepend(ClosePopen)
  end
  BasicSocket.class_eval { prepend(CloseHalf) }
end
