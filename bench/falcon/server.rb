# frozen_string_literal: true

# bench/falcon/run and bench/rails/run start this: Falcon if it is installed, and async-http's own server otherwise. It
# runs in this process or in WORKERS workers, on the selector that the caller has loaded. It prints where it listens. At
# SIGTERM and Ctrl-C it answers the requests that it has, and ends.
#
#   ruby bench/falcon/server.rb [CONFIG.RU [WORKERS]]

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

# Serves until somebody pushes an object to +told+.
def serve(app, bound, url, told)
  endpoint = Async::HTTP::Endpoint.parse(url, bound)
  server = if defined?(Falcon::Server)
             Falcon::Server.new(Falcon::Server.middleware(app, cache: false), endpoint)
           else
             Async::HTTP::Server.new(Protocol::Rack::Adapter.new(app), endpoint)
           end
  task = server.run
  yield if block_given?
  told.pop
  task.stop
  bound.close
  task.wait
end

def listening(url)
  puts "Listening on #{url}"
  $stdout.flush
end

app, = Rack::Builder.parse_file(ARGV.fetch(0) { File.expand_path("../web/config.ru", __dir__) })
workers = Integer(ARGV.fetch(1, "0"))
bound = Sync { IO::Endpoint.tcp("127.0.0.1", 0).bound }
url = "http://127.0.0.1:#{bound.sockets.first.local_address.ip_port}"
told = Thread::Queue.new

if workers.zero?
  Sync do
    %w[INT TERM].each { |signal| trap(signal) { told << signal } }
    serve(app, bound, url, told) { listening(url) }
  ensure
    bound.close
  end
else
  # The workers end when the other end of this pipe is closed, and so also when this process dies.
  reader, writer = IO.pipe
  workers.times do
    fork do
      writer.close
      trap("INT", "IGNORE")
      Sync do |task|
        task.async { told << reader.read }
        serve(app, bound, url, told)
      end
    end
  end
  %w[INT TERM].each { |signal| trap(signal) { told << signal } }
  listening(url)
  told.pop
  writer.close
  Process.waitall
end
