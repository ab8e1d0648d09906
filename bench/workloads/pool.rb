# frozen_string_literal: true

require_relative "../program"

FIBERS = 100
CONNECTIONS = 5

# Lends connections, as the pools of real programs do.
class Pool
  def initialize(connections)
    @connections = connections
    @mutex = Mutex.new
    @returned = ConditionVariable.new
  end

  def with
    connection = take
    yield connection
  ensure
    give_back(connection) if connection
  end

  private

  def take
    @mutex.synchronize do
      @returned.wait(@mutex) while @connections.empty?
      @connections.pop
    end
  end

  def give_back(connection)
    @mutex.synchronize do
      @connections.push(connection)
      @returned.signal
    end
  end
end

# A fiber waits for a connection, makes one exchange on it, and gives it back.
Bench.program do |b|
  connections = Array.new(CONNECTIONS) do
    connection, peer = UNIXSocket.pair
    b.spawn { loop { peer.write(peer.readpartial(64)) } }
    connection
  end
  pool = Pool.new(connections)
  message = "x" * 64
  FIBERS.times do
    b.spawn do
      loop do
        b.op do
          pool.with do |connection|
            connection.write(message)
            connection.readpartial(64)
          end
        end
      end
    end
  end
end
