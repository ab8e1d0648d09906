# frozen_string_literal: true

# Started by bench/falcon/run: Falcon where it is installed, and async-http's own server otherwise, in one process, on
# whatever selector this process has. Says where it listens; SIGTERM and Ctrl-C end it when what was asked is answered.
#
#   ruby bench/falcon/server.rb [CONFIG.RU]

require "async"
require "async/http"
require "rack"
require "rack/builder"

begin
  require "falcon/server"
rescue LoadError => error
  raise unless error.path == "falcon/server"

  require "protocol/rack"
end

app, = Rack::Builder.parse_file(ARGV.fetch(0) { File.expand_path("../web/config.ru", __dir__) })

Sync do
  bound = IO::Endpoint.tcp("127.0.0.1", 0).bound
  url = "http://127.0.0.1:#{bound.sockets.first.local_address.ip_port}"
  endpoint = Async::HTTP::Endpoint.parse(url, bound)
  server = if defined?(Falcon::Server)
             Falcon::Server.new(Falcon::Server.middleware(app, cache: false), endpoint)
           else
             Async::HTTP::Server.new(Protocol::Rack::Adapter.new(app), endpoint)
           end
  told = Thread::Queue.new
  %w[INT TERM].each { |signal| trap(signal) { told << signal } }
  task = server.run
  puts "Listening on #{url}"
  $stdout.flush
  told.pop
  task.stop
  bound.close
  task.wait
ensure
  bound&.close
end
