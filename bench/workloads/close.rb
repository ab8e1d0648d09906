# frozen_string_literal: true

require_relative "../program"

WAITING = 100

# Makes and closes socket pairs while fibers wait for other sockets.
Bench.program do |b|
  WAITING.times do
    ours, theirs = UNIXSocket.pair
    b.spawn { theirs && ours.gets }
  end
  b.spawn { loop { b.op { UNIXSocket.pair.each(&:close) } } }
end
