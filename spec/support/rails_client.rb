# frozen_string_literal: true

require "net/http"

# Asks a server of a Rails app, as a proxy does that has taken TLS off.
class RailsClient
  # What a server says of itself, of the connection, or of this very answer.
  OWN = %w[date server connection keep-alive transfer-encoding content-length x-request-id x-runtime set-cookie
           server-timing].freeze
  HEADERS = { "X-Forwarded-Proto" => "https", "Accept-Encoding" => "identity" }.freeze
  # Another one each time, in every page with a layout.
  TOKEN = /(?<=<meta name="csrf-token" content=")[^"]+/
  Answer = Struct.new(:status, :headers, :body)

  def initialize(port)
    @port = port
  end

  def get(path) = connected { |http| answer(http.get(path, HEADERS)) }

  def post(path, data = "") = connected { |http| answer(http.post(path, data, HEADERS)) }

  # The answers to all of the paths, asked for at once.
  def get_all(paths) = paths.map { |path| Thread.new { get(path) } }.map(&:value)

  def post_all(paths) = paths.map { |path| Thread.new { post(path) } }.map(&:value)

  def connected(&)
    Net::HTTP.start("127.0.0.1", @port, nil, nil, open_timeout: 15, read_timeout: 15, max_retries: 0, &)
  end

  private

  def answer(response)
    body = response.body
    headers = response.each_header.to_h.except(*OWN)
    headers.delete("etag") if body.gsub!(TOKEN, "token")
    Answer.new(response.code.to_i, headers, body)
  end
end
