# frozen_string_literal: true

require "json"
require "socket"

# Streams tokens over HTTP as language models do: server-sent events in chunks, with one token each and a pause before
# the next. It serves in blocking threads, and uses nothing of this gem.
#
# GET /whole/ID   its text. The last token comes only after enough of these streams have begun, so they must overlap.
# GET /endless/ID the text again and again, until the client closes the connection
# GET /broken/ID  a few tokens, and then the end of the connection
class TokenServer
  WORDS = ["plain", "with space ", "größer ", "漢字", "\u{1F9F5}", "\n\n", "\"quoted\" "].freeze
  HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

  def self.tokens(id) = Array.new(6 + (id % 4)) { |index| "#{id}:#{index} #{WORDS[(id + index) % WORDS.size]}" }
  def self.text(id) = tokens(id).join

  # Whether this is what a cut-off client has read: some number of whole tokens of the endless stream.
  def self.cut_off?(id, text)
    read = +""
    tokens(id).cycle { |token| read.size < text.size ? read << token : break }
    read == text
  end

  # @param together [Numeric] how many whole streams must have begun before one of them may end
  def initialize(together)
    @together = together
    @mutex = Thread::Mutex.new
    @changed = Thread::ConditionVariable.new
    @begun = []
    @open = []
    @listener = TCPServer.new("127.0.0.1", 0)
    @listener.listen(512)
    @threads = []
    @acceptor = Thread.new { accept }
  end

  def url(kind, id) = "http://127.0.0.1:#{@listener.local_address.ip_port}/#{kind}/#{id}"

  # The ids of all streams that clients have asked for, and of those whose connection is still open.
  def begun = @mutex.synchronize { @begun.dup }
  def open = @mutex.synchronize { @open.dup }

  # Lets whole streams end, even if too few have begun.
  def release
    @mutex.synchronize do
      @together = 0
      @changed.broadcast
    end
  end

  def stop
    @acceptor.kill.join
    @threads.each { |thread| thread.kill.join }
    @listener.close
  end

  private

  def accept
    loop do
      connection = @listener.accept
      @threads << Thread.new do
        serve(connection)
      rescue Errno::EPIPE, Errno::ECONNRESET
        nil # the client has closed an endless stream
      ensure
        connection.close
      end
    end
  end

  def serve(connection)
    kind, id = connection.gets("\r\n\r\n").match(%r{\AGET /(whole|endless|broken)/(\d+) }).captures
    id = id.to_i
    begin_stream(id, kind)
    connection.write(HEAD)
    case kind
    when "whole" then stream_whole(connection, id)
    when "endless" then stream_endless(connection, id)
    when "broken" then return send_tokens(connection, self.class.tokens(id).first(3))
    end
    connection.read # until the client closes
  ensure
    @mutex.synchronize { @open.delete(id) }
  end

  def begin_stream(id, kind)
    @mutex.synchronize do
      @begun << id
      @open << id
      @together -= 1 if kind == "whole"
      @changed.broadcast
    end
  end

  def stream_whole(connection, id)
    *tokens, last = self.class.tokens(id)
    send_tokens(connection, tokens)
    @mutex.synchronize { @changed.wait(@mutex) until @together <= 0 }
    send_tokens(connection, [last])
    send_event(connection, "[DONE]")
    connection.write("0\r\n\r\n")
  end

  def stream_endless(connection, id) = send_tokens(connection, self.class.tokens(id).cycle, pause: 0.02)

  def send_tokens(connection, tokens, pause: 0.002)
    tokens.each do |token|
      send_event(connection, JSON.generate(token))
      sleep(pause)
    end
  end

  def send_event(connection, data)
    event = "data: #{data}\n\n"
    connection.write("#{event.bytesize.to_s(16)}\r\n#{event}\r\n")
  end
end
