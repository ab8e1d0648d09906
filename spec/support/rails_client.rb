# frozen_string_literal: true

require "net/http"
require "socket"

# Sends requests to a Rails server, as a proxy does that terminates TLS.
class RailsClient
  # Headers about the server, the connection, or this one answer.
  OWN = %w[date server connection keep-alive transfer-encoding content-length x-request-id x-runtime set-cookie
           server-timing].freeze
  HEADERS = { "X-Forwarded-Proto" => "https", "Accept-Encoding" => "identity" }.freeze
  # Every page with a layout has a different token each time.
  TOKEN = /(?<=<meta name="csrf-token" content=")[^"]+/
  # Longer than the limits of the examples, whose failures say more.
  LIMIT = 100
  Answer = Struct.new(:status, :headers, :body)

  attr_reader :port

  def initialize(port)
    @port = port
  end

  # The header names are those of HTTP.
  def get(path, headers = {}) = connected { |http| answer(http.get(path, HEADERS.merge(headers))) }

  def post(path, data = "") = connected { |http| answer(http.post(path, data, HEADERS)) }

  # The answers to all the paths, requested at once.
  def get_all(paths) = paths.map { |path| Thread.new { get(path) } }.map(&:value)

  def post_all(paths) = paths.map { |path| Thread.new { post(path) } }.map(&:value)

  # An answer that the client reads while it arrives.
  def stream(path) = Stream.new(@port, path)

  def connected(&)
    Net::HTTP.start("127.0.0.1", @port, nil, nil, open_timeout: LIMIT, read_timeout: LIMIT, max_retries: 0, &)
  end

  # Sends requests again and again in a thread, each on a connection of its own. If the server closes the connection
  # before the first byte of its answer, it has not taken the request, so the client sends it once more, as browsers and
  # proxies do.
  class Asking
    attr_reader :answered, :wrong

    # A body is right when it equals `right`.
    def initialize(client, path, right)
      @client = client
      @answered = 0
      @wrong = []
      @thread = Thread.new { ask(path, right) until @stopped }
    end

    def stop
      @stopped = true
      @thread.join
    end

    private

    def ask(path, right)
      answer = @client.get(path)
      @wrong << answer if answer.status != 200 || answer.body != right
      @answered += 1
    rescue EOFError, Errno::ECONNRESET, Errno::EPIPE
      @wrong << "not taken more than 5 times" if (@refused = @refused.to_i + 1) > 5
    rescue StandardError => error
      @wrong << error
    end
  end

  # The body of an answer in chunks.
  class Stream
    def initialize(port, path)
      @socket = TCPSocket.new("127.0.0.1", port)
      headers = HEADERS.map { |name, value| "#{name}: #{value}\r\n" }.join
      @socket.write("GET #{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n#{headers}\r\n")
      @body = +""
    end

    # The next line of the body.
    def gets
      take_head
      take_chunk until @over || @body.include?("\n")
      @body.slice!(/\A.*\n/)
    end

    # The rest of the body.
    def read
      take_head
      take_chunk until @over
      @socket.close
      @body
    end

    private

    def take_head
      return if @head

      @head = line("\r\n\r\n")
      return if @head.match?(%r{\AHTTP/1.1 200 }) && @head.match?(/^transfer-encoding: chunked/i)

      raise "no answer in chunks: #{@head}"
    end

    def take_chunk
      size = line.to_i(16)
      @body << read_exactly(size)
      read_exactly(2)
      @over = size.zero?
    end

    def line(separator = "\r\n")
      @socket.timeout = LIMIT
      @socket.gets(separator) || raise("the answer ends early, after #{@body.size} bytes of its body")
    end

    def read_exactly(size)
      bytes = @socket.read(size).to_s
      raise "the answer ends early, after #{@body.size} bytes of its body" if bytes.bytesize < size

      bytes
    end
  end

  private

  def answer(response)
    body = response.body
    headers = response.each_header.to_h.except(*OWN)
    headers.delete("etag") if body.gsub!(TOKEN, "token")
    Answer.new(response.code.to_i, headers, body)
  end
end
