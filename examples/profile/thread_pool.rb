# frozen_string_literal: true

# A program whose threads fight for the GVL: four threads take work from a queue, and all the work is computing.

queue = Thread::Queue.new
400.times { |number| queue << number }
queue.close

sums = Thread::Queue.new
workers = Array.new(4) do
  Thread.new do
    while (number = queue.pop)
      sums << (1..40_000).sum { |factor| (factor * number) % 7 }
    end
  end
end
workers.each(&:join)
puts sums.size
