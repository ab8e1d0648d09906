# frozen_string_literal: true

require_relative "../program"

# 512 bytes there and back, both ends in this process.
Bench.program do |b|
  message = "x" * 512
  server = TCPServer.new("127.0.0.1", 0)
  b.connections.times do
    client, peer = Bench.tcp_pair(server)
    b.spawn { loop { peer.write(peer.readpartial(512)) } }
    b.spawn do
      loop do
        b.op do
          client.write(message)
          raise "an answer is short" unless client.readpartial(512).bytesize == 512
        end
      end
    end
  end
end
