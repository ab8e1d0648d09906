# frozen_string_literal: true

require "socket"

module Libraries
  # An HTTP server that answers with the last part of the path. A path with the word GATHER waits at the gate.
  class HTTPServer
    attr_reader :port

    def initialize(gate)
      @gate = gate
      @server = TCPServer.new("127.0.0.1", 0)
      @port = @server.local_address.ip_port
      @threads = Thread::Queue.new
      @threads << Thread.new { accept }
    end

    def address
      { url: "http://127.0.0.1:#{port}" }
    end

    def stop
      @server.close
      @threads.pop.kill.join until @threads.empty?
    end

    private

    def accept
      loop do
        client = @server.accept
        @threads << Thread.new { serve(client) }
      end
    rescue IOError
      nil # stopped
    end

    def serve(client)
      client.setsockopt(:TCP, :NODELAY, true)
      nil while answer(client)
    rescue SystemCallError
      nil # the client is gone
    ensure
      client.close
    end

    # Whether the connection stays.
    def answer(client)
      head = client.gets("\r\n\r\n") or return false
      body = client.read(head[/^content-length: *(\d+)/i, 1].to_i)
      path = head.split[1]
      @gate.call.pass if path.include?(GATHER)
      word = body.to_s.empty? ? File.basename(path) : body
      client.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: #{word.bytesize}\r\n\r\n", word)
      !head.match?(/^connection: *close/i)
    end
  end
end
