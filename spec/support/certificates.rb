# frozen_string_literal: true

require "openssl"

# Makes certificates for examples.
module Certificates
  # A key, and a self-signed certificate for the host +name+.
  def self_signed(name)
    key = OpenSSL::PKey::EC.generate("prime256v1")
    certificate = OpenSSL::X509::Certificate.new
    certificate.version = 2
    certificate.serial = 1
    certificate.subject = certificate.issuer = OpenSSL::X509::Name.new([["CN", name]])
    certificate.public_key = key
    certificate.not_before = Time.now - 60
    certificate.not_after = Time.now + 3600
    extensions = OpenSSL::X509::ExtensionFactory.new(certificate, certificate)
    certificate.add_extension(extensions.create_extension("basicConstraints", "CA:TRUE", true))
    certificate.add_extension(extensions.create_extension("subjectAltName", "DNS:#{name}"))
    certificate.sign(key, "SHA256")
    [key, certificate]
  end
end
