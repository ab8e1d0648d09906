# frozen_string_literal: true

require "pg"
require_relative "../program"

Bench.program do |b|
  b.connections.times do |number|
    b.spawn do
      connection = PG.connect(host: ENV.fetch("BENCH_POSTGRESQL"), dbname: "postgres", user: "postgres")
      loop do
        b.op do
          raise "a wrong answer" unless connection.exec("SELECT #{number}").getvalue(0, 0) == number.to_s
        end
      end
    end
  end
end
