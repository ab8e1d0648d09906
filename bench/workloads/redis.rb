# frozen_string_literal: true

require "redis-client"
require_relative "../program"

Bench.program do |b|
  b.connections.times do |number|
    b.spawn do
      client = RedisClient.config(path: ENV.fetch("BENCH_REDIS"), timeout: 10).new_client
      loop do
        b.op do
          answers = client.pipelined { |pipeline| 10.times { pipeline.call("INCR", "counter-#{number}") } }
          raise "a wrong answer" unless answers.size == 10
        end
      end
    end
  end
end
