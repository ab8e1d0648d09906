# frozen_string_literal: true

Libraries.row "net-http", gem: nil, server: :http do
  require "net/http"

  each_fiber do |index|
    uri = URI(server[:url])
    Net::HTTP.start(uri.host, uri.port) do |http|
      echoes(index) { |word| http.get("/#{word}").body }
    end
  end
end

Libraries.row "open-uri", gem: nil, server: :http do
  require "open-uri"

  each_fiber do |index|
    echoes(index) { |word| URI("#{server[:url]}/#{word}").open(&:read) }
  end
end
