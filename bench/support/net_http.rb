# frozen_string_literal: true

require "net/http"
require_relative "../program"

# Net::HTTP over kept connections to a server in another process.
module NetHTTP
  class << self
    # Yields each answer, within the operation.
    def run(body)
      port = serve(body).gets.to_i
      Bench.program do |b|
        b.connections.times do
          b.spawn do
            Net::HTTP.start("127.0.0.1", port) do |http|
              loop { b.op { yield http.get("/") } }
            end
          end
        end
      end
    end

    private

    def serve(body)
      answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}"
      Bench.peer do |output|
        server = TCPServer.new("127.0.0.1", 0)
        output.puts(server.local_address.ip_port)
        clients = []
        loop do
          ready, = IO.select([server, *clients])
          clients << server.accept if ready.delete(server)
          ready.each { |client| answer_to(client, answer) || clients.delete(client) }
        end
      end
    end

    # Answers one read: each request comes in one piece. One thread answers all, so that the server takes less time than
    # the client.
    def answer_to(client, answer)
      asked = client.read_nonblock(4096, exception: false)
      client.write(answer) if asked.is_a?(String)
      asked
    rescue SystemCallError
      nil
    end
  end
end
