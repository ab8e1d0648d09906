# frozen_string_literal: true

require "json"
require "socket"
require "websocket/driver"

# The browser's side of Action Cable, in blocking calls.
class CableClient
  LIMIT = 15

  attr_reader :url

  # Returns once the client is in the room.
  def initialize(port, room)
    @url = "ws://127.0.0.1:#{port}/cable"
    @socket = TCPSocket.new("127.0.0.1", port)
    @heard = []
    @identifier = JSON.generate(channel: "RoomChannel", room:)
    open_driver(port)
    wait_for { |message| message["type"] == "welcome" }
    command(command: "subscribe", identifier: @identifier)
    wait_for { |message| message["type"] == "confirm_subscription" }
  end

  def say(text)
    command(command: "message", identifier: @identifier, data: JSON.generate(action: "speak", text:))
  end

  # The next message of somebody in the room.
  def hear = wait_for { |message| message["identifier"] && message["message"] }.fetch("message")

  # The WebSocket driver calls this.
  def write(bytes) = @socket.write(bytes)

  # Closes the connection with a reset, without a goodbye. The kernel drops the bytes in transit.
  def reset
    @socket.setsockopt(:SOCKET, :LINGER, [1, 0].pack("ii"))
    @socket.close
  end

  def close
    @driver.close
    @socket.close
  end

  private

  def open_driver(port)
    @driver = WebSocket::Driver.client(self, protocols: ["actioncable-v1-json"])
    @driver.set_header("Origin", "https://127.0.0.1:#{port}")
    @driver.set_header("X-Forwarded-Proto", "https")
    @driver.on(:message) { |event| @heard << JSON.parse(event.data) }
    @driver.on(:error) { |error| raise error.message }
    @driver.start
  end

  def command(**command) = @driver.text(JSON.generate(command))

  # Drops other messages, such as pings.
  def wait_for
    loop do
      while (message = @heard.shift)
        return message if yield message
      end
      raise "nothing heard for #{LIMIT} seconds" unless @socket.wait_readable(LIMIT)

      @driver.parse(@socket.readpartial(65_536))
    end
  end
end
