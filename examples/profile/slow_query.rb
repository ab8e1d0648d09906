# frozen_string_literal: true

# A program that makes a slow query ten times: one after the other, or with --fibers all at the same time.
#
#   ruby slow_query.rb [--fibers] HOST    # where PostgreSQL is; a folder for its UNIX socket

require "pg"
require "uring_io"

fibers = ARGV.delete("--fibers")
host = ARGV.fetch(0)

query = lambda do
  connection = PG.connect(host:, dbname: "postgres", user: "postgres")
  connection.exec("SELECT pg_sleep(0.1)")
  connection.close
end

if fibers
  UringIO.run { 10.times { Fiber.schedule(&query) } }
else
  10.times { query.call }
end
