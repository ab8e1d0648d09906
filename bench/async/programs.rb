# frozen_string_literal: true

# bench/async/run starts this. It runs one program on Async for some seconds, on the selector that the caller has
# chosen. Prints how many operations it made, in how many seconds, and how many seconds of processor time it used.
#
#   ruby bench/async/programs.rb ROW SECONDS

require "async"
require "async/condition"
require "socket"

WARM_UP = 0.3

# The programs. Each one starts its tasks, which count their operations.
module Programs
  class << self
    attr_reader :operations

    # 20 pairs of TCP connections exchange 512 bytes. An operation is one exchange, there and back.
    def echo(task)
      message = "x" * 512
      server = TCPServer.new("127.0.0.1", 0)
      20.times do
        client = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
        peer = server.accept
        task.async { loop { peer.write(peer.readpartial(512)) } }
        each_time(task) do
          client.write(message)
          client.readpartial(512)
        end
      end
    end

    # 500 tasks at a time sleep for a millisecond and end. An operation is one task.
    def churn(task)
      task.async do |parent|
        loop do
          Array.new(500) { parent.async { sleep(0.001) } }.each(&:wait)
          count(500)
        end
      end
    end

    # Lines of 100 bytes go through 10 pipes, with a task between any two. An operation is one line through one pipe.
    def pipes(task)
      first, *rest = Array.new(10) { IO.pipe }
      line = "#{'x' * 99}\n"
      task.async { loop { first.last.write(line) } }
      last = rest.inject(first) do |(input, _), pipe|
        task.async { loop { pipe.last.write(input.readpartial(100)) } }
        pipe
      end
      each_time(task, 10) { last.first.readpartial(100) }
    end

    # 100 tasks wait for a condition that another task signals. An operation is one wakeup.
    def conditions(task)
      condition = Async::Condition.new
      100.times { each_time(task) { condition.wait } }
      task.async do |inner|
        loop do
          condition.signal
          inner.yield
        end
      end
    end

    def count(number)
      @operations = (@operations || 0) + number
    end

    private

    def each_time(task, number = 1)
      task.async do
        loop do
          yield
          count(number)
        end
      end
    end
  end
end

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
def processor = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)

Sync do |task|
  Programs.public_send(ARGV.fetch(0), task)
  sleep(WARM_UP)
  before = [Programs.operations, now, processor]
  sleep(Float(ARGV.fetch(1)))
  after = [Programs.operations, now, processor]
  puts after.zip(before).map { |late, early| late - early }.join(" ")
  $stdout.flush
  exit!(0) # without a clean end of the tasks, which nobody needs
end
