# frozen_string_literal: true

# bench/profile/run starts this. It does ROUNDS rounds of work, and prints how many seconds of processor time they took.
#
#   ruby bench/profile/program.rb threads|fibers ROUNDS

require "erb"
require "socket"
require "uring_io"

THREADS = 10
TEMPLATE = ERB.new("<ul><% rows.each do |row| %><li><%= ERB::Util.h(row) %></li><% end %></ul>")
ROWS = Array.new(300) { |number| "row <#{number}>" }
rounds = Integer(ARGV.fetch(1))

# Ten threads, as in a web server. In each round a thread renders a page, and sleeps for a millisecond.
def threads(rounds)
  Array.new(THREADS) do
    Thread.new do
      rounds.times do
        TEMPLATE.result_with_hash(rows: ROWS)
        sleep(0.001)
      end
    end
  end.each(&:join)
end

# Twenty fibers, in pairs that only wait for each other.
def fibers(rounds)
  UringIO.run do
    10.times do
      one, other = UNIXSocket.pair
      Fiber.schedule { rounds.times { one.write("x" * 64) && one.readpartial(64) } }
      Fiber.schedule { rounds.times { other.write(other.readpartial(64)) } }
    end
  end
end

GC.start
start = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
send(ARGV.fetch(0), rounds)
warn Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) - start
