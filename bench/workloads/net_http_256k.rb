# frozen_string_literal: true

require_relative "../support/net_http"

SIZE = 256 * 1024

NetHTTP.run("x" * SIZE) { |response| raise "an answer is short" unless response.body.bytesize == SIZE }
