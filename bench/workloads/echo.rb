# frozen_string_literal: true

require_relative "../program"

# Sends 512 bytes there and back. Both ends are in this process.
Bench.program do |b|
  message = "x" * 512
  Bench.tcp_pairs(b.connections).each do |client, peer|
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
