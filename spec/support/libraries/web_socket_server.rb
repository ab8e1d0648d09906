# frozen_string_literal: true

require_relative "threaded_server"

module Libraries
  # Echoes WebSocket messages.
  class WebSocketServer < ThreadedServer
    # The WebSocket driver writes to this object.
    Connection = Struct.new(:io) do
      def write(bytes) = io.write(bytes)
    end

    class << self
      def missing
        require "websocket/driver"
        nil
      rescue LoadError => error
        "the gem websocket-driver is not installed: #{error.message}"
      end
    end

    def address
      { url: "ws://127.0.0.1:#{port}/" }
    end

    private

    def serve(client)
      driver = WebSocket::Driver.server(Connection.new(client))
      driver.on(:connect) { driver.start }
      driver.on(:message) do |event|
        meet(event.data)
        driver.text(event.data)
      end
      driver.parse(client.readpartial(65_536)) while driver.state != :closed
    end
  end
end
