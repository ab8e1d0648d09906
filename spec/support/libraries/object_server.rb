# frozen_string_literal: true

require "drb"

module Libraries
  # An object that clients call by DRb.
  class ObjectServer
    # Returns the word of the call.
    Front = Struct.new(:gate) do
      def echo(word)
        gate.call.pass(word) if word.match?(Gate::WORD)
        word
      end
    end

    def initialize(gate)
      @server = DRb::DRbServer.new("druby://127.0.0.1:0", Front.new(gate))
    end

    def address
      { uri: @server.uri }
    end

    def stop
      @server.stop_service
      @server.thread.join
    end
  end
end
