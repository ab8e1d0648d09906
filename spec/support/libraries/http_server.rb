# frozen_string_literal: true

require "openssl"
require_relative "../certificates"
require_relative "threaded_server"

module Libraries
  # Answers with the body of the request, or, without a body, with the last part of its path.
  class HTTPServer < ThreadedServer
    def address
      { url: "http://127.0.0.1:#{port}" }
    end

    private

    def serve(client)
      nil while answer(client)
    end

    # Returns whether the connection stays open.
    def answer(client)
      head = client.gets("\r\n\r\n") or return false
      client.write("HTTP/1.1 100 Continue\r\n\r\n") if head.match?(/^expect: *100-continue/i)
      body = client.read(head[/^content-length: *(\d+)/i, 1].to_i)
      path = head.split[1]
      meet(path)
      word = body.to_s.empty? ? File.basename(path) : body
      client.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: #{word.bytesize}\r\n\r\n", word)
      !head.match?(/^connection: *close/i)
    end
  end

  # The same with TLS.
  class HTTPSServer < HTTPServer
    include Certificates

    def initialize(gate)
      @context = OpenSSL::SSL::SSLContext.new
      @context.key, @context.cert = self_signed("localhost")
      super
    end

    # The client has to trust the server's own certificate.
    def address
      { host: "localhost", port:, certificate: @context.cert.to_pem }
    end

    private

    def serve(client)
      encrypted = OpenSSL::SSL::SSLSocket.new(client, @context)
      encrypted.accept
      super(encrypted)
    end
  end
end
