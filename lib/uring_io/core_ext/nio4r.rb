# frozen_string_literal: true

module UringIO
  module NIO
    # NIO::Selector.backends lists the backends of nio4r, and NIO::Selector.new makes a selector. This is prepended, so
    # that it comes before nio4r's own choice. nio.rb requires this file once nio4r and our selector are loaded.
    module Choice
      # The name of our selector among the backends. nio4r has a backend of its own called :io_uring.
      NAME = :uring_io

      # @return [Array<Symbol>]
      def backends
        [*super, NAME]
      end

      # @return [Selector, ::NIO::Selector]
      def new(backend = nil, *rest)
        return super unless equal?(::NIO::Selector) && rest.empty? && [nil, NAME].include?(backend)

        Selector.new
      end
    end
    private_constant :Choice

    ::NIO::Selector.singleton_class.prepend(Choice)
  end
end
