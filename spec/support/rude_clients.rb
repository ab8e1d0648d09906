# frozen_string_literal: true

require "socket"

# Clients that disconnect in every rude way that a server meets.
class RudeClients
  WAYS = %i[connect_and_reset half_a_request half_a_body leave_a_query leave_a_transaction leave_an_answer].freeze

  # Four clients go through all ways six times, while the block runs and until they are done.
  def self.at(port)
    client = new(port)
    threads = Array.new(4) { Thread.new { 6.times { WAYS.each { |way| client.public_send(way) } } } }
    yield
    threads.each(&:join)
  end

  def initialize(port)
    @port = port
  end

  def connect_and_reset = connected { |socket| reset(socket) }

  def half_a_request = connected { |socket| socket.write("GET /accounts HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Ha") }

  def half_a_body
    connected do |socket|
      socket.write("POST /transfers?from=1&to=2 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n" \
                   "Content-Length: 1000\r\n\r\nhalf")
      reset(socket)
    end
  end

  def leave_a_query = leave { |socket| ask(socket, "GET /slow?number=1&seconds=0.1") }

  def leave_a_transaction = leave { |socket| ask(socket, "POST /transfers?from=9&to=10&amount=0") }

  def leave_an_answer
    connected do |socket|
      ask(socket, "GET /file")
      socket.readpartial(1000)
      reset(socket)
    end
  end

  private

  # A server may also reset the connection itself.
  def connected
    socket = TCPSocket.new("127.0.0.1", @port)
    socket.timeout = 15
    yield socket
  rescue SystemCallError, EOFError
    nil
  ensure
    socket&.close
  end

  # Disconnects while the app works on the request.
  def leave
    connected do |socket|
      yield socket
      sleep(0.02)
      reset(socket)
    end
  end

  def ask(socket, request)
    socket.write("#{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-Proto: https\r\nContent-Length: 0\r\n\r\n")
  end

  # Closes the connection with an RST. The kernel drops the bytes in transit.
  def reset(socket)
    socket.setsockopt(:SOCKET, :LINGER, [1, 0].pack("ii"))
    socket.close
  end
end
