# frozen_string_literal: true

# Fetches all URLs at the same time on one thread, with plain Net::HTTP.
#
#   ruby -Ilib examples/fetch.rb http://localhost:8080/ http://localhost:8080/sleep/500

require "net/http"
require "uring_io"

abort "usage: ruby -Ilib examples/fetch.rb URL..." if ARGV.empty?

UringIO.run do
  ARGV.each do |url|
    Fiber.schedule do
      response = Net::HTTP.get_response(URI(url))
      puts "#{url}: #{response.code} #{response.message}, #{response.body.bytesize} bytes"
    rescue StandardError => error
      puts "#{url}: #{error.message} (#{error.class})"
    end
  end
end
