# frozen_string_literal: true

Libraries.row "pg", server: :postgresql do
  require "pg"

  each_fiber do |index|
    connection = PG.connect(**server)
    echoes(index) { |word| connection.exec_params("SELECT $1::text", [word]).getvalue(0, 0) }
  ensure
    connection&.close
  end
end

Libraries.row "mysql2", server: :mariadb do
  require "mysql2"

  each_fiber do |index|
    client = Mysql2::Client.new(**server)
    echoes(index) { |word| client.query("SELECT '#{word}' AS word").first.fetch("word") }
  ensure
    client&.close
  end
end

Libraries.row "redis", server: :redis do
  require "redis"

  each_fiber do |index|
    redis = Redis.new(**server)
    echoes(index) { |word| redis.set("key-#{index}", word) && redis.get("key-#{index}") }
  ensure
    redis&.close
  end
end

Libraries.row "redis, one client for all", gem: "redis", server: :redis do
  require "redis"
  redis = Redis.new(**server)

  each_fiber do |index|
    echoes(index) { |word| inside { redis.echo(word) } }
  end
  # All fibers have come to the client's lock, even though the server answers the first one late.
  same(Libraries::FIBERS, most)
end

Libraries.row "redis-client", server: :redis do
  require "redis-client"

  each_fiber do |index|
    redis = RedisClient.new(**server)
    echoes(index) { |word| redis.call("ECHO", word) }
  ensure
    redis&.close
  end
end

Libraries.row "connection_pool", server: :redis, parties: 5 do
  require "connection_pool"
  require "redis-client"
  pool = ConnectionPool.new(size: 5, timeout: 20) { RedisClient.new(**server) }

  each_fiber do |index|
    echoes(index) { |word| pool.with { |redis| redis.call("ECHO", word) } }
  end
end

Libraries.row "dalli", server: :memcached do
  require "dalli"

  each_fiber do |index|
    client = Dalli::Client.new("#{server[:host]}:#{server[:port]}")
    echoes(index) { |word| client.set("key-#{index}", word) && client.get("key-#{index}") }
  ensure
    client&.close
  end
end

Libraries.row "dalli, one client for all", gem: "dalli", server: :memcached do
  require "dalli"
  client = Dalli::Client.new("#{server[:host]}:#{server[:port]}")

  each_fiber do |index|
    echoes(index) { |word| inside { client.set("key-#{index}", word) && client.get("key-#{index}") } }
  end
  same(Libraries::FIBERS, most)
end

Libraries.row "sidekiq", server: :redis do
  require "sidekiq"
  Sidekiq.configure_client do |config|
    config.redis = { url: "redis://#{server[:host]}:#{server[:port]}", size: Libraries::FIBERS }
    config.logger = nil
  end

  each_fiber do |index|
    echoes(index) do |word|
      Sidekiq::Client.push("class" => "Job", "queue" => "queue-#{index}", "args" => [word])
      job = Sidekiq.redis { |redis| redis.call("RPOP", "queue:queue-#{index}") }
      JSON.parse(job).fetch("args").first
    end
  end
end
