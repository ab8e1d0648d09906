# frozen_string_literal: true

require_relative "threaded_server"

module Libraries
  # Accepts mail by SMTP (RFC 5321), and answers each message with its subject.
  class MailServer < ThreadedServer
    private

    def serve(client)
      client.write("220 the suite\r\n")
      while (line = client.gets)
        case line
        when /\AEHLO|\AHELO|\AMAIL|\ARCPT|\ARSET/i then client.write("250 ok\r\n")
        when /\ADATA/i then take(client)
        when /\AQUIT/i then return client.write("221 bye\r\n")
        else client.write("502 unknown\r\n")
        end
      end
    end

    def take(client)
      client.write("354 go on\r\n")
      message = client.gets("\r\n.\r\n")
      subject = message[/^Subject: (.*)\r$/, 1]
      meet(subject)
      client.write("250 #{subject}\r\n")
    end
  end
end
