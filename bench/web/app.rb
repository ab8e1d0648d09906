# frozen_string_literal: true

# The Rack app that all servers of bench/puma and bench/falcon serve.

require "json"

# GET /hello, /json, /sleep (10 ms), /redis (one GET of Redis, if the app has the path of one), and POST /echo.
class WebApp
  ROUTES = %w[hello json sleep redis].freeze
  REDIS_KEY = "greeting"
  GREETING = "Hello from a fiber\n"
  ITEMS = Array.new(20) { |index| { id: index, name: "item #{index}", price: index * 1.5, tags: %w[one two] } }.freeze
  SLEEP_SECONDS = 0.01
  # More requests than this at a time wait for a connection.
  REDIS_CONNECTIONS = 16
  REDIS_TIMEOUT = 60

  # The right answer to a GET.
  def self.body(route)
    case route
    when "hello" then GREETING
    when "json" then JSON.generate(items: ITEMS)
    when "sleep" then "Slept for 10 ms\n"
    when "redis" then "#{REDIS_KEY}\n"
    end
  end

  # @param redis [String, nil] the path of a UNIX socket
  def initialize(redis)
    return unless redis

    require "redis-client"
    @redis = RedisClient.config(path: redis).new_pool(size: REDIS_CONNECTIONS, timeout: REDIS_TIMEOUT)
  end

  def call(env)
    case [env["REQUEST_METHOD"].sub("HEAD", "GET"), env["PATH_INFO"]]
    when %w[GET /hello] then answer(GREETING)
    when %w[GET /json] then answer(JSON.generate(items: ITEMS), type: "application/json")
    when %w[GET /sleep] then sleep(SLEEP_SECONDS) && answer("Slept for 10 ms\n")
    when %w[GET /redis] then @redis ? answer("#{@redis.call('GET', REDIS_KEY)}\n") : answer("no Redis\n", status: 503)
    when %w[POST /echo] then answer(env["rack.input"]&.read.to_s)
    else answer("nothing here\n", status: 404)
    end
  end

  private

  def answer(body, status: 200, type: "text/plain")
    [status, { "content-type" => type, "content-length" => body.bytesize.to_s }, [body]]
  end
end
