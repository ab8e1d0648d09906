# frozen_string_literal: true

require_relative "../program"

LINES = 4
PIPES = 10

# Sends a line of 100 bytes through 10 pipes, with a fiber between any two pipes. Four lines are on their way at a time.
Bench.program do |b|
  line = "#{'x' * 99}\n"
  LINES.times do
    pipes = Array.new(PIPES) { IO.pipe }
    pipes.each_cons(2) do |(input, _), (_, output)|
      b.spawn { loop { output.write(input.gets) } }
    end
    b.spawn do
      loop do
        b.op do
          pipes.first.last.write(line)
          raise "a line is short" unless pipes.last.first.gets.bytesize == line.bytesize
        end
      end
    end
  end
end
