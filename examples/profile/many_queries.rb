# frozen_string_literal: true

# A program with an N+1 problem: it makes a query for the author of each book, or with --joined one query for all.
#
#   ruby many_queries.rb [--joined] HOST    # where PostgreSQL is; a folder for its UNIX socket

require "pg"

joined = ARGV.delete("--joined")
connection = PG.connect(host: ARGV.fetch(0), dbname: "postgres", user: "postgres")
connection.exec(<<~SQL)
  CREATE TEMPORARY TABLE authors AS SELECT id, 'author ' || id AS name FROM generate_series(1, 20000) id;
  CREATE TEMPORARY TABLE books AS SELECT id, id AS author_id FROM generate_series(1, 300) id;
SQL

names = if joined
          connection.exec("SELECT name FROM books JOIN authors ON authors.id = author_id").column_values(0)
        else
          connection.exec("SELECT author_id FROM books").column_values(0).map do |id|
            connection.exec_params("SELECT name FROM authors WHERE id = $1", [id]).getvalue(0, 0)
          end
        end
puts names.size
