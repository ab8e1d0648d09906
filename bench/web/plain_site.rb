# frozen_string_literal: true

require_relative "../../spec/support/redis"
require_relative "app"

module WebBench
  # The site of bench/puma and bench/falcon: the Rack app of app.rb, with a Redis if a route needs one.
  class PlainSite
    ABOUT = {
      "hello" => "19 bytes: all that is measured is the server", "json" => "1.5 KB of JSON, made for each request",
      "sleep" => "an app that waits for 10 ms", "redis" => "one GET of Redis over a UNIX socket"
    }.freeze

    def routes = WebApp::ROUTES
    def about(route) = ABOUT.fetch(route)
    def body(route) = WebApp.body(route)

    # Why a route cannot be had; nil when it can.
    def missing(route) = route == "redis" ? RedisServer.missing : nil

    # Starts what these routes need, and calls the block with the environment for the servers.
    def open(routes)
      return yield({}) unless routes.include?("redis")

      redis = RedisServer.new
      begin
        RedisClient.new(path: redis.path).tap { |client| client.call("SET", WebApp::REDIS_KEY, "greeting") }.close
        yield({ "WEB_BENCH_REDIS" => redis.path })
      ensure
        redis.stop
      end
    end
  end
end
