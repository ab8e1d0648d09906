# frozen_string_literal: true

# The program that bin/demo measures. It fetches files with plain Net::HTTP and compares every byte.
#
#   ruby -Ilib bin/demo_fetch.rb PORT FOLDER io_uring|epoll|poll|select|threads
#
# Each of 200 fibers (or threads) makes 20 requests on a connection of its own, for the files of FOLDER in turn. The
# program prints "ready", waits for a line, works, and prints its result as JSON. It stays until its standard input
# ends, so that bin/demo can look at it in /proc.

require "json"
require "net/http"

CLIENTS = 200
REQUESTS_EACH = 20

port, folder, target = ARGV
require "uring_io" unless target == "threads"

files = Dir.children(folder).sort.map { |name| ["/#{name}", File.binread("#{folder}/#{name}")] }
right = Array.new(CLIENTS, 0)
errors = Hash.new(0)

fetch = lambda do |client|
  # No proxy and no second try, so that every failure of a request shows.
  Net::HTTP.start("127.0.0.1", port.to_i, nil, max_retries: 0) do |http|
    REQUESTS_EACH.times do |request|
      # Other clients fetch other files meanwhile, so that a mix-up of responses shows.
      path, content = files[(client + request) % files.size]
      response = http.get(path)
      if response.code == "200" && response.body == content
        right[client] += 1
      else
        errors["wrong response: #{response.code}, #{response.body.bytesize} bytes"] += 1
      end
    end
  end
rescue StandardError => error
  errors["#{error.class}: #{error.message}"] += 1
end

fetch_all = lambda do
  if target == "threads"
    Array.new(CLIENTS) { |client| Thread.new { fetch.call(client) } }.each(&:join)
  else
    UringIO.run(backend: target) { CLIENTS.times { |client| Fiber.schedule { fetch.call(client) } } }
  end
end

$stdout.sync = true
puts "ready"
$stdin.gets or exit
start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
fetch_all.call
seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - start
puts JSON.generate({ seconds:, requests: CLIENTS * REQUESTS_EACH, right: right.sum, errors: })
$stdin.read
