# frozen_string_literal: true

require "json"
require "rbconfig"
require "tmpdir"
require_relative "../../spec/support/postgresql"
require_relative "server"

module WebBench
  # The site of bench/rails: the Rails app of rails_app.rb, with a PostgreSQL, another web server and a file.
  class RailsSite
    ABOUT = {
      "queries" => "three queries of PostgreSQL by ActiveRecord, and JSON", "pg_sleep" => "a query that takes 50 ms",
      "two_urls" => "two pages of another server at once, 50 ms each", "file" => "1 MB by send_file"
    }.freeze
    ITEMS = Array.new(100) { |index| { id: index + 1, name: "item #{index + 1}", kind: index % 10 } }.freeze
    FILE = Random.new(1).bytes(1 << 20).freeze
    UPSTREAM = File.expand_path("../../examples/http_server.rb", __dir__)
    LIB = File.expand_path("../../lib", __dir__)

    def routes = ABOUT.keys
    def about(route) = ABOUT.fetch(route)
    def missing(_route) = PostgreSQL.missing

    def body(route)
      case route
      when "queries"
        JSON.generate(count: ITEMS.size, item: ITEMS[41],
                      same_kind: ITEMS.select { |item| item[:kind] == ITEMS[41][:kind] }.map { |item| item[:name] })
      when "pg_sleep" then "slept\n"
      when "two_urls" then "Slept for 50 ms\n" * 2
      when "file" then FILE
      end
    end

    def open(_routes)
      Dir.mktmpdir("web_bench") do |folder|
        file = File.join(folder, "file.bin")
        File.binwrite(file, FILE)
        with_postgresql do |parameters|
          Server.open([{}, RbConfig.ruby, "-I#{LIB}", UPSTREAM, "--port", "0", "--backend", "epoll"]) do |upstream|
            yield({ "PGDATABASE" => parameters[:dbname], "PGHOST" => parameters[:host],
                    "PGUSER" => parameters[:user], "WEB_BENCH_URL" => "http://127.0.0.1:#{upstream.port}/sleep/50",
                    "WEB_BENCH_FILE" => file })
          end
        end
      end
    end

    private

    # The gem pg is loaded by then, because PostgreSQL.missing has found nothing missing.
    def with_postgresql
      postgresql = PostgreSQL.new
      PG.connect(postgresql.parameters).tap { |database| fill(database) }.close
      yield postgresql.parameters
    ensure
      postgresql&.stop
    end

    def fill(database)
      database.exec("CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, kind integer NOT NULL)")
      ITEMS.each { |item| database.exec_params("INSERT INTO items VALUES ($1, $2, $3)", item.values) }
      database.exec("ANALYZE items")
    end
  end
end
