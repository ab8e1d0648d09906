# frozen_string_literal: true

# io-event makes its selectors with the object that IO::Event::Selector.default returns. async.rb requires this file
# once io-event is loaded.

require_relative "../selector/checked"

module UringIO
  class Selector
    # The object that io-event makes selectors with.
    # @api private
    module Default
      # @param loop [Fiber] the fiber that will call +select+
      # @return [Selector, Checked]
      def self.new(loop)
        selector = Selector.new(loop)
        ENV["URING_IO_CHECKED"] == "1" ? Checked.new(selector) : selector
      end
    end

    # Prepended, so that it comes before io-event's own choice (lib/io/event/selector.rb, IO::Event::Selector.default).
    module Choice
      # @return [#new] the object that makes a selector for a loop fiber
      def default(env = ENV)
        env["IO_EVENT_SELECTOR"] ? super : Default
      end
    end
    private_constant :Choice

    IO::Event::Selector.singleton_class.prepend(Choice)
    IO::Event::Selector.const_set(:UringIO, Default)
  end
end
