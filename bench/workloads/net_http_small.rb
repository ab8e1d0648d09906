# frozen_string_literal: true

require_relative "../support/net_http"

NetHTTP.run(JSON.generate(id: 1, name: "Ada", tags: %w[a b c])) do |response|
  raise "a wrong answer" unless JSON.parse(response.body)["id"] == 1
end
