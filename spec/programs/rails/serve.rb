# frozen_string_literal: true

# Serves the Rails app of the current folder in one process on Async, by Falcon or by async-http's own server. It
# accepts on the socket of descriptor 3. At SIGTERM it answers its open requests, and ends.
#
#   bundle exec ruby serve.rb falcon|async-http uring_io|io_event

server, selector = ARGV
require "bundler/setup"
require "uring_io/async" if selector == "uring_io"
require "async"
require "async/http"
require "rack/builder"
require(server == "falcon" ? "falcon/server" : "protocol/rack")

app, = Rack::Builder.parse_file(File.expand_path("config.ru"))

Sync do
  socket = Socket.for_fd(3)
  endpoint = Async::HTTP::Endpoint.parse("http://127.0.0.1:#{socket.local_address.ip_port}",
                                         IO::Endpoint::BoundEndpoint.new(nil, [socket]))
  server = if server == "falcon"
             Falcon::Server.new(Falcon::Server.middleware(app, cache: false), endpoint)
           else
             Async::HTTP::Server.new(Protocol::Rack::Adapter.new(app), endpoint)
           end
  told = Thread::Queue.new
  trap("TERM") { told << true }
  task = server.run
  puts "Serving on #{Fiber.scheduler.instance_variable_get(:@selector).class}"
  $stdout.flush
  told.pop
  task.stop
  puts "Ending"
  $stdout.flush
  socket.close
  task.wait
end
