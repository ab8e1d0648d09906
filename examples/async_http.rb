# frozen_string_literal: true

# An Async HTTP server and its clients, on one thread and one UringIO::Selector.
#
#   ruby -Ilib examples/async_http.rb [--port N] [--clients N] [--requests N] [--serve]
#
# Needs the gem async-http. URING_IO_BACKEND=epoll (or poll, or select) selects another backend than io_uring. With
# --serve there are no clients, and the server runs until Ctrl-C or SIGTERM.

require "optparse"
require "uring_io/async"
require "async"
require "async/http"

Options = Struct.new(:port, :clients, :requests, :serve)
options = Options.new(0, 10, 20, false)
OptionParser.new do |parser|
  parser.banner = "Usage: ruby -Ilib examples/async_http.rb [OPTION...]"
  parser.on("--port N", Integer, "where to listen; 0 (default) takes a free one") { |n| options.port = n }
  parser.on("--clients N", Integer, "how many fetch at the same time (default 10)") { |n| options.clients = n }
  parser.on("--requests N", Integer, "of each client (default 20)") { |n| options.requests = n }
  parser.on("--serve", "only serve, until a signal comes") { options.serve = true }
end.parse!

# Answers "/name" with a greeting, after a pause in which other tasks run.
def greet(request)
  sleep(0.001)
  Protocol::HTTP::Response[200, { "content-type" => "text/plain" }, ["Hello, #{request.path.delete_prefix('/')}\n"]]
end

# @return [Integer] how many greetings were right
def fetch(url, name, requests)
  Async::HTTP::Client.open(Async::HTTP::Endpoint.parse(url)) do |client|
    requests.times.count { client.get("/#{name}").read == "Hello, #{name}\n" }
  end
end

begin
  # The handler may run in any task, and an exception that it raised itself would stay in that task.
  trap("TERM") { Thread.main.raise(Interrupt) }
  Sync do |task|
    socket = IO::Endpoint.tcp("127.0.0.1", options.port).bound
    url = "http://127.0.0.1:#{socket.sockets.first.local_address.ip_port}"
    puts "Listening on #{url} (#{ENV['URING_IO_BACKEND'] || UringIO.support.best})"
    $stdout.flush
    server = Async::HTTP::Server.for(Async::HTTP::Endpoint.parse(url, socket)) { |request| greet(request) }.run
    server.wait if options.serve

    clients = Array.new(options.clients) { |index| task.async { fetch(url, "client-#{index}", options.requests) } }
    puts "#{clients.sum(&:wait)} of #{options.clients * options.requests} greetings were right"
  ensure
    server&.stop
    socket&.close
  end
rescue Interrupt
  puts "Ended by a signal"
rescue UringIO::UnsupportedError, ArgumentError, SystemCallError => error
  abort "async_http: #{error.message}"
end
