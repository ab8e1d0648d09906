# frozen_string_literal: true

require_relative "../program"

SIZES = [100, 100, 100, 65_536].freeze

# Each connection exchanges three small messages and a large one in turns, so that no target can prefer the small ones.
Bench.program do |b|
  Bench.tcp_pairs(b.connections).each_with_index do |(client, peer), number|
    sizes = SIZES.rotate(number)
    b.spawn { sizes.cycle { |size| peer.write(peer.read(size)) } }
    b.spawn do
      sizes.map { |size| "x" * size }.cycle do |message|
        b.op do
          client.write(message)
          raise "an answer is short" unless client.read(message.bytesize).bytesize == message.bytesize
        end
      end
    end
  end
end
