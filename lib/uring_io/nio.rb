# frozen_string_literal: true

# Makes nio4r return a UringIO::NIO::Selector to every program that does not name a backend. For Puma's reactor one line
# in config/puma.rb is enough:
#
#   require "uring_io/nio"
#
# It may come before or after `require "nio"`. Selectors that nio4r has made before it stay as they are. Our selector
# uses the backend that URING_IO_BACKEND names, or else the best one that works.
#
# NIO::Selector.new(:epoll), and so `io_selector_backend :epoll` in config/puma.rb, still returns nio4r's own selector.
# The name :uring_io stands for our selector.

require "uring_io"
require_relative "nio/selector"

module UringIO
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
