# frozen_string_literal: true

require "tmpdir"

# Yields a connection that holds the lock of a database with one table, and the path of that database.
locked = lambda do |&use|
  require "sqlite3"
  Dir.mktmpdir do |folder|
    path = File.join(folder, "words.db")
    keeper = SQLite3::Database.new(path)
    keeper.execute("CREATE TABLE words (word TEXT)")
    keeper.execute("BEGIN IMMEDIATE")
    use.call(keeper, path)
  ensure
    keeper&.close
  end
end

Libraries.row "sqlite3, queries", gem: "sqlite3" do
  require "sqlite3"
  count = <<~SQL
    WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 10000)
    SELECT ? || '-' || count(*) FROM numbers
  SQL

  each_fiber do |index|
    database = SQLite3::Database.new(":memory:")
    inside { same("#{index}-10000", database.get_first_value(count, [index])) }
  ensure
    database&.close
  end
end

Libraries.row "sqlite3, `busy_timeout=`", gem: "sqlite3" do
  locked.call do |_, path|
    each_fiber do |index|
      database = SQLite3::Database.new(path)
      database.busy_timeout = 10
      inside { database.execute("INSERT INTO words VALUES (?)", ["word-#{index}"]) }
      same("an SQLite3::BusyException", "nothing")
    rescue SQLite3::BusyException
      nil # the connection keeps its lock all the time
    ensure
      database&.close
    end
  end
end

Libraries.row "sqlite3, `busy_handler_timeout=`", gem: "sqlite3" do
  locked.call do |keeper, path|
    each_fiber do |index|
      database = SQLite3::Database.new(path)
      database.synchronous = "off"
      database.busy_handler_timeout = 20_000
      inside do
        keeper.execute("COMMIT") if present == Libraries::FIBERS
        database.execute("INSERT INTO words VALUES (?)", ["word-#{index}"])
      end
    ensure
      database&.close
    end
    same(Array.new(Libraries::FIBERS) { |index| "word-#{index}" }.sort,
         keeper.execute("SELECT word FROM words").flatten.sort)
  end
end
