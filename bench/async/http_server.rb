# frozen_string_literal: true

# bench/async/run starts this: a server of async-http, on the selector that the caller has chosen. Prints its port, and
# after SIGTERM the seconds of processor time that it has used meanwhile.

require "async"
require "async/http"

def processor = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)

before = nil
trap("TERM") do
  $stdout.write(processor - before, "\n")
  $stdout.flush
  exit!(0)
end

Async do
  bound = IO::Endpoint.tcp("127.0.0.1", 0).bound
  port = bound.sockets.first.local_address.ip_port
  endpoint = Async::HTTP::Endpoint.parse("http://127.0.0.1:#{port}", bound)
  Async::HTTP::Server.for(endpoint) { Protocol::HTTP::Response[200, {}, ["Hello from a fiber\n"]] }.run
  before = processor
  puts port
  $stdout.flush
end
