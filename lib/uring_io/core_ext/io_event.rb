# frozen_string_literal: true

require_relative "../selector/checked"

# io-event asks IO::Event::Selector.default what to make selectors with. async.rb requires this file once io-event is
# there.
module UringIO
  # See selector.rb.
  class Selector
    # The object that io-event makes selectors with.
    # @api private
    module Default
      # @param loop [Fiber] that will call +select+
      # @return [Selector, Checked]
      def self.new(loop)
        selector = Selector.new(loop)
        ENV["URING_IO_CHECKED"] == "1" ? Checked.new(selector) : selector
      end
    end

    # Comes before io-event's own choice (lib/io/event/selector.rb, IO::Event::Selector.default).
    module Choice
      # @return [#new] what makes a selector for a loop fiber
      def default(env = ENV)
        env["IO_EVENT_SELECTOR"] ? super : Default
      end
    end
    private_constant :Choice

    IO::Event::Selector.singleton_class.prepend(Choice)
    IO::Event::Selector.const_set(:UringIO, Default)
  end
end
