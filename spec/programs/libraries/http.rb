# frozen_string_literal: true

Libraries.row "net-http", gem: nil, server: :http do
  require "net/http"

  each_fiber do |index|
    uri = URI(server[:url])
    Net::HTTP.start(uri.host, uri.port) do |http|
      echoes(index) { |word| http.get("/#{word}").body }
      echoes(index) { |word| http.post("/#{word}", word).body }
    end
  end
end

Libraries.row "net-http, TLS", gem: nil, server: :https do
  require "net/http"
  store = OpenSSL::X509::Store.new
  store.add_cert(OpenSSL::X509::Certificate.new(server[:certificate]))

  each_fiber do |index|
    Net::HTTP.start(server[:host], server[:port], use_ssl: true, cert_store: store) do |http|
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

Libraries.row "net-http-persistent", server: :http do
  require "net/http/persistent"
  http = Net::HTTP::Persistent.new

  each_fiber do |index|
    echoes(index) { |word| http.request(URI("#{server[:url]}/#{word}")).body }
  end
end

Libraries.row "httparty", server: :http do
  require "httparty"

  each_fiber do |index|
    echoes(index) { |word| HTTParty.get("#{server[:url]}/#{word}").body }
  end
end

Libraries.row "faraday", server: :http do
  require "faraday"
  connection = Faraday.new(server[:url])

  each_fiber do |index|
    echoes(index) { |word| connection.get("/#{word}").body }
  end
end

Libraries.row "rest-client", server: :http do
  require "rest-client"

  each_fiber do |index|
    echoes(index) { |word| RestClient.get("#{server[:url]}/#{word}").body }
  end
end

Libraries.row "excon", server: :http do
  require "excon"

  each_fiber do |index|
    connection = Excon.new(server[:url], persistent: true)
    echoes(index) { |word| connection.get(path: "/#{word}").body }
  ensure
    connection&.reset
  end
end

Libraries.row "httpclient", server: :http do
  require "httpclient"
  client = HTTPClient.new

  each_fiber do |index|
    echoes(index) { |word| client.get_content("#{server[:url]}/#{word}") }
  end
end

Libraries.row "http", server: :http do
  require "http"

  each_fiber do |index|
    echoes(index) { |word| HTTP.get("#{server[:url]}/#{word}").to_s }
  end
end

Libraries.row "httpx", server: :http do
  require "httpx"

  each_fiber do |index|
    echoes(index) { |word| HTTPX.get("#{server[:url]}/#{word}").to_s }
  end
end

Libraries.row "mechanize", server: :http do
  require "mechanize"

  each_fiber do |index|
    agent = Mechanize.new
    echoes(index) { |word| agent.get("#{server[:url]}/#{word}").body }
  ensure
    agent&.shutdown
  end
end

Libraries.row "aws-sdk-s3", server: :http do
  require "aws-sdk-s3"
  client = Aws::S3::Client.new(endpoint: server[:url], region: "here", force_path_style: true,
                               credentials: Aws::Credentials.new("key", "secret"))

  each_fiber do |index|
    echoes(index) { |word| client.get_object(bucket: "bucket", key: word).body.read }
  end
end

Libraries.row "typhoeus", server: :http do
  require "typhoeus"

  each_fiber do |index|
    echoes(index) { |word| Typhoeus.get("#{server[:url]}/#{word}").body }
  end
end

Libraries.row "typhoeus, in `Thread.new { … }.value`", gem: "typhoeus", server: :http do
  require "typhoeus"

  each_fiber do |index|
    echoes(index) { |word| Thread.new { Typhoeus.get("#{server[:url]}/#{word}").body }.value }
  end
end

Libraries.row "curb", server: :http do
  require "curb"

  each_fiber do |index|
    echoes(index) { |word| Curl.get("#{server[:url]}/#{word}").body_str }
  end
end
