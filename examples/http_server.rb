# frozen_string_literal: true

# A small HTTP/1.1 server in plain Ruby: one fiber for each connection.
#
#   ruby -Ilib examples/http_server.rb [--port N] [--backend io_uring|epoll|poll|select]
#
# GET / answers with a greeting, and GET /sleep/MS answers after MS milliseconds. At Ctrl-C or SIGTERM the server
# answers the requests that it has received, and then ends. A second signal ends it at once.

require "optparse"
require "socket"
require "uring_io"

LINE_MAX = 8_192
HEADERS_MAX = 100
IDLE_SECONDS = 30
REASONS = { 200 => "OK", 400 => "Bad Request", 404 => "Not Found", 405 => "Method Not Allowed" }.freeze

# @return [Array, nil] verb, path, and whether the connection stays open; nil if the request is malformed or has a body
def read_request(client)
  verb, path, version = client.gets("\n", LINE_MAX)&.match(%r{\A([A-Z]+) (/\S*) HTTP/(1\.[01])\r?\n\z})&.captures
  headers = read_headers(client) if verb
  return if headers.nil? || headers.key?("transfer-encoding") || headers.fetch("content-length", "0") != "0"
  return [verb, path, false] if version == "1.0"

  [verb, path, !headers["connection"].to_s.match?(/\bclose\b/i)] if headers.key?("host")
end

def read_headers(client)
  headers = {}
  while (line = client.gets("\n", LINE_MAX)) && headers.size < HEADERS_MAX
    return headers if line.chomp.empty?

    name, value = line.match(/\A([\w-]+):[ \t]*(.*?)[ \t]*\r?\n\z/)&.captures
    return unless name

    headers[name.downcase] = value
  end
end

def answer(verb, path)
  return [400, "malformed request\n"] unless verb
  return [405, "only GET and HEAD\n"] unless %w[GET HEAD].include?(verb)
  return [200, "Hello from a fiber\n"] if path == "/"

  milliseconds = path[%r{\A/sleep/(\d{1,5})\z}, 1]
  return [404, "nothing here\n"] unless milliseconds

  sleep milliseconds.to_i / 1000.0
  [200, "Slept for #{milliseconds} ms\n"]
end

# Takes connections from a listening socket until somebody stops it.
class Server
  attr_reader :served

  def initialize(listener)
    @listener = listener
    @served = 0
    @idle = {}
    @ending = false
  end

  def run
    loop do
      client = @listener.accept
      Fiber.schedule { serve(client) }
    rescue Errno::EMFILE, Errno::ECONNABORTED
      sleep 0.1
    end
  rescue Errno::EINVAL
    # +finish+ has shut the listening socket down.
  ensure
    @listener.close
  end

  # Takes no new connections and no new requests. The server still answers the requests that have come.
  def finish
    @ending = true
    @listener.shutdown(:RD)
    @idle.each_key { |client| shut(client) }
  end

  private

  # The fiber of this client still reads the input that has come before, and then sees the end.
  def shut(client)
    client.shutdown(:RD)
  rescue Errno::ENOTCONN
    # The client has reset the connection.
  end

  def serve(client)
    client.timeout = IDLE_SECONDS
    while asks?(client)
      verb, path, stays = read_request(client)
      status, body = answer(verb, path)
      stays &&= !@ending
      head = "HTTP/1.1 #{status} #{REASONS[status]}\r\nContent-Type: text/plain\r\nContent-Length: #{body.bytesize}\r\n"
      head << "Allow: GET, HEAD\r\n" if status == 405
      head << "Connection: close\r\n" unless stays
      client.write("#{head}\r\n#{body unless verb == 'HEAD'}")
      @served += 1
      break unless stays
    end
  rescue SystemCallError, IOError
    # The client has gone, or was silent for too long.
  ensure
    client.close
  end

  # Waits for the next request. Returns false when none comes.
  def asks?(client)
    shut(client) if @ending
    @idle[client] = true
    !client.eof?
  ensure
    @idle.delete(client)
  end
end

port = 8080
backend = nil
OptionParser.new do |options|
  options.on("--port N", Integer, "0 takes a free one") { |number| port = number }
  options.on("--backend NAME") { |name| backend = name }
end.parse!

server = nil
begin
  UringIO.run(backend:) do |scheduler|
    listener = TCPServer.new("127.0.0.1", port)
    server = Server.new(listener)
    told = Thread::Queue.new
    %w[INT TERM].each { |signal| trap(signal) { told << signal } }
    puts "Listening on http://127.0.0.1:#{listener.local_address.ip_port} (#{scheduler.backend})"
    $stdout.flush
    Fiber.schedule { server.run }
    told.pop
    %w[INT TERM].each { |signal| trap(signal, "DEFAULT") }
    server.finish
  end
  puts "Served #{server.served} requests"
rescue SignalException
  puts "Served #{server&.served.to_i} requests"
rescue UringIO::UnsupportedError, ArgumentError, SystemCallError, SocketError => error
  abort "http_server: #{error.message}"
end
