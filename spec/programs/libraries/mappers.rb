# frozen_string_literal: true

# Calls the block for a query, unless two fibers hold the same connection at that time. The failure would then differ
# from run to run: rows of other fibers, a standstill, or a crash of libpq.
held = Hash.new(0).compare_by_identity
ask_alone = lambda do |connection, &ask|
  held[connection] += 1
  sleep(0.001)
  held[connection] > 1 ? "a connection for two fibers" : ask.call
ensure
  held[connection] -= 1
end

sequel = proc do |extended|
  require "sequel"
  Sequel.extension(:fiber_concurrency) if extended
  options = server.slice(:host, :port, :user, :sslmode).merge(database: server[:dbname])
  database = Sequel.connect(adapter: "postgres", max_connections: Libraries::FIBERS, keep_reference: false, **options)

  each_fiber do |index|
    echoes(index) do |word|
      database.synchronize do |connection|
        ask_alone.call(connection) { database.fetch("SELECT ? AS word", word).get(:word) }
      end
    end
  end
  database.disconnect
end

Libraries.row "sequel, with `:fiber_concurrency`", gem: "sequel", server: :postgresql do
  instance_exec(true, &sequel)
end

Libraries.row "sequel, without it", gem: "sequel", server: :postgresql do
  instance_exec(false, &sequel)
end

# ActiveRecord with a pool of five connections.
active_record = proc do |isolation|
  require "active_record"
  ActiveSupport::IsolatedExecutionState.isolation_level = isolation
  options = server.slice(:host, :port, :sslmode, :gssencmode).merge(database: server[:dbname], username: server[:user])
  ActiveRecord::Base.establish_connection(adapter: "postgresql", pool: 5, checkout_timeout: 20, **options)

  each_fiber do |index|
    echoes(index) do |word|
      ActiveRecord::Base.connection_pool.with_connection do |connection|
        ask_alone.call(connection) { connection.select_value("SELECT '#{word}'") }
      end
    end
  end
end

Libraries.row "activerecord, `isolation_level` `:fiber`", gem: "activerecord", server: :postgresql, parties: 5 do
  instance_exec(:fiber, &active_record)
end

Libraries.row "activerecord, `isolation_level` `:thread`", gem: "activerecord", server: :postgresql, parties: 5 do
  instance_exec(:thread, &active_record)
end
