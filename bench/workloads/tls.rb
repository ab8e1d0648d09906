# frozen_string_literal: true

require "openssl"
require_relative "../../spec/support/certificates"
require_relative "../program"

extend Certificates # rubocop:disable Style/MixinUsage

# Sends 512 bytes there and back over TLS. Both ends are in this process.
key, certificate = self_signed("localhost")
Bench.program do |b|
  message = "x" * 512
  context = OpenSSL::SSL::SSLContext.new
  context.add_certificate(certificate, key)
  Bench.tcp_pairs(b.connections).each do |client, peer|
    b.spawn do
      secure = OpenSSL::SSL::SSLSocket.new(peer, context)
      secure.accept
      loop { secure.write(secure.readpartial(512)) }
    end
    b.spawn do
      secure = OpenSSL::SSL::SSLSocket.new(client)
      secure.connect
      loop do
        b.op do
          secure.write(message)
          raise "an answer is short" unless secure.readpartial(512).bytesize == 512
        end
      end
    end
  end
end
