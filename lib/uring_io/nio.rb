# frozen_string_literal: true

# Makes UringIO::NIO::Selector what nio4r makes for everybody who does not ask for a certain backend:
#
#   require "uring_io/nio"
#
# in config/puma.rb is all that Puma's reactor takes. It may come before or after `require "nio"`; a selector that was
# made before stays what it is. Which backend ours waits by follows URING_IO_BACKEND, and otherwise is the best that
# works.
#
# NIO::Selector.new(:epoll), and so `io_selector_backend :epoll` in config/puma.rb, is nio4r's own as before. Ours is
# also there by the name :uring_io.

require "uring_io"
require_relative "nio/selector"

module UringIO
  # See nio/selector.rb.
  module NIO
    begin
      require "nio"
    rescue LoadError => error
      raise unless error.path == "nio"

      raise LoadError, "uring_io/nio needs nio4r, which is not installed: it comes with puma, so add " \
                       "`gem \"puma\"` to the Gemfile, or run `gem install puma`"
    end
  end
end

require_relative "core_ext/nio4r"
