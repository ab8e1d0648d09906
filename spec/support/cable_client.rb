# frozen_string_literal: true

require "json"
require "socket"
require "websocket/driver"

# A browser's side of Action Cable, in blocking calls.
class CableClient
  LIMIT = 15

  attr_reader :url

  # Is in the room when it is made.
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

  # The next message that somebody has said.
  def hear = wait_for { |message| message["identifier"] && message["message"] }.fetch("message")

  # For the driver.
  def write(bytes) = @socket.write(bytes)

  # Without a word, and with what is on its way thrown away.
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

  # Others, such as pings, are dropped.
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
