# frozen_string_literal: true

require_relative "../program"

PARTS = 100
GATHERERS = 4

# Starts 100 parts that sleep up to a millisecond, and gathers their results.
Bench.program do |b|
  GATHERERS.times do
    b.spawn do
      loop do
        b.op do
          results = Queue.new
          PARTS.times do |number|
            b.spawn do
              sleep(number / 100_000.0)
              results << number
            end
          end
          PARTS.times { results.pop }
        end
      end
    end
  end
end
