# frozen_string_literal: true

require_relative "../program"

# Two fibers wake each other through two queues.
Bench.program do |b|
  there, back = Array.new(2) { Queue.new }
  b.spawn { loop { back << there.pop } }
  b.spawn do
    loop do
      b.op do
        there << 1
        back.pop
      end
    end
  end
end
