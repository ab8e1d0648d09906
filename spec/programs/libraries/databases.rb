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
    echoes(index) { |word| redis.set(word, word) && redis.get(word) }
  ensure
    redis&.close
  end
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
