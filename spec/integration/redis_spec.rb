# frozen_string_literal: true

require_relative "../support/redis"

RSpec.describe "Redis through redis-client and redis, on one thread," do
  missing = RedisServer.missing
  before(:context) { @redis = RedisServer.new unless missing }
  after(:context) { @redis&.stop }

  def client(**options)
    closing(RedisClient.config(path: @redis.path, **options).new_client)
  end

  each_backend(**(missing ? { skip: missing } : {})) do |_backend|
    before { in_thread { client.call("FLUSHALL") } unless missing }

    it "LPUSH in one fiber serves BLPOP in another" do
      order = []
      scheduled do
        Fiber.schedule do
          order << :waits
          order << client.blocking_call(10, "BLPOP", "list", 0)
        end
        pusher = client
        eventually { pusher.call("INFO", "clients").include?("blocked_clients:1\r\n") }
        order << :pushes
        pusher.call("LPUSH", "list", "value")
      end
      expect(order).to eq([:waits, :pushes, %w[list value]])
    end

    it "30 fibers wait in BLPOP at once, and each gets its own value, in the order of the pushes" do
      order = []
      scheduled do
        30.times do |index|
          Fiber.schedule { order << client.blocking_call(10, "BLPOP", "list #{index}", 0).last.to_i }
        end
        pusher = client
        eventually { pusher.call("INFO", "clients").include?("blocked_clients:30\r\n") }
        30.times.to_a.reverse_each do |index|
          pusher.call("RPUSH", "list #{index}", index)
          eventually { order.size == 30 - index }
        end
      end
      expect(order).to eq(30.times.to_a.reverse)
    end

    it "a token goes round a ring of fibers, each of which waits on its own list" do
      order = []
      scheduled do
        10.times do |index|
          Fiber.schedule do
            connection = client
            2.times do |round|
              token = connection.blocking_call(10, "BLPOP", "ring #{index}", 0).last
              order << [round, index, token.to_i]
              connection.call("RPUSH", "ring #{(index + 1) % 10}", token.to_i + 1)
            end
          end
        end
        client.call("RPUSH", "ring 0", 0)
      end
      expect(order).to eq(Array.new(20) { |step| [step / 10, step % 10, step] })
    end

    it "pipelines of several fibers keep their answers apart, however large" do
      large = pattern(300_000)
      answers = {}
      sent = 0
      scheduled do
        8.times do |index|
          Fiber.schedule do
            connection = client
            connection.call("SET", "large #{index}", large)
            sent += 1
            eventually { sent == 8 }
            answers[index] = connection.pipelined do |pipeline|
              500.times { |number| pipeline.call("ECHO", "#{index} #{number}") }
              pipeline.call("GET", "large #{index}")
            end
          end
        end
      end
      expect(answers.size).to eq(8)
      answers.each do |index, (*echoes, value)|
        expect(echoes).to eq(Array.new(500) { |number| "#{index} #{number}" })
        expect(value.b == large).to be(true)
      end
    end

    it "a read timeout ends one fiber's wait, and not too early, while the other fibers go on" do
      order = []
      scheduled do
        Fiber.schedule do
          start = monotonic
          error = raised { client(reconnect_attempts: 0).blocking_call(0.05, "BLPOP", "never", 0) }
          order << [error.class, monotonic - start >= 0.05]
        end
        other = client
        3.times { |number| order << other.call("ECHO", number) }
      end
      expect(order).to eq(["0", "1", "2", [RedisClient::ReadTimeoutError, true]])
    end

    it "BLPOP's own timeout, Timeout and a silent server all end their waits at the same time" do
      results = {}
      scheduled do
        Fiber.schedule { results[:blpop] = client.blocking_call(10, "BLPOP", "never", 0.02) }
        Fiber.schedule do
          results[:timeout] = raised { Timeout.timeout(0.02) { client.blocking_call(10, "BLPOP", "never", 0) } }
        end
        mute = closing(UNIXServer.new(free_path("mute")))
        start = monotonic
        results[:mute] = raised { client(path: mute.local_address.unix_path, timeout: 0.02).call("PING") }
        expect(monotonic - start).to be >= 0.02
      end
      expect(results).to match(blpop: nil, timeout: be_a(Timeout::Error), mute: be_a(RedisClient::ConnectionError))
      expect(results[:mute].message).to include("Waited 0.02 seconds")
    end

    it "an error of the server raises in its fiber, and the connection works afterwards" do
      scheduled do
        connection = client
        connection.call("SET", "text", "x")
        expect { connection.call("LPUSH", "text", "y") }.to raise_error(RedisClient::CommandError, /WRONGTYPE/)
        expect(connection.call("GET", "text")).to eq("x")
      end
    end

    it "a published message reaches every subscribed fiber" do
      received = []
      scheduled do
        5.times do |index|
          Fiber.schedule do
            subscription = client.pubsub
            subscription.call("SUBSCRIBE", "news")
            received << [index, subscription.next_event(10).last(2)] # the confirmation of the subscription
            received << [index, subscription.next_event(10).last]
          ensure
            subscription&.close
          end
        end
        publisher = client
        eventually { received.size == 5 }
        expect(publisher.call("PUBLISH", "news", "extra")).to eq(5)
      end
      expect(received.last(5).sort).to eq(Array.new(5) { |index| [index, "extra"] })
    end

    it "fibers that share one Redis object take turns, and each gets its own answer" do
      answers = []
      turns = []
      scheduled do
        redis = closing(Redis.new(path: @redis.path))
        10.times do |index|
          Fiber.schedule do
            5.times do |round|
              turns << index
              answers << [redis.call("ECHO", "#{index} #{round}"), "#{index} #{round}"]
              sleep(0)
            end
          end
        end
      end
      expect(answers.size).to eq(50)
      expect(answers.map(&:first)).to eq(answers.map(&:last))
      expect(turns.first(10)).to eq([*0..9])
    end

    it "a pool of three connections serves ten fibers" do
      inside = most = done = 0
      scheduled do
        pool = RedisClient.config(path: @redis.path).new_pool(size: 3, timeout: 10)
        10.times do
          Fiber.schedule do
            pool.with do |connection|
              inside += 1
              most = [most, inside].max
              eventually { most == 3 }
              connection.call("INCR", "counter")
              inside -= 1
            end
            done += 1
          end
        end
        eventually { done == 10 }
        expect(pool.call("GET", "counter")).to eq("10")
        pool.close
      end
      expect(most).to eq(3)
    end
  end
end
