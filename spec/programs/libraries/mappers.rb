# frozen_string_literal: true

# Sequel, with or without what it needs.
sequel = proc do |extended|
  require "sequel"
  Sequel.extension(:fiber_concurrency) if extended
  options = server.slice(:host, :port, :user, :sslmode).merge(database: server[:dbname])
  database = Sequel.connect(adapter: "postgres", max_connections: Libraries::FIBERS, keep_reference: false, **options)

  each_fiber do |index|
    echoes(index) { |word| database.fetch("SELECT ? AS word", word).get(:word) }
  end
  database.disconnect
end

Libraries.row "sequel, with `:fiber_concurrency`", gem: "sequel", server: :postgresql do
  instance_exec(true, &sequel)
end

Libraries.row "sequel, without it", gem: "sequel", server: :postgresql do
  instance_exec(false, &sequel)
end

Libraries.row "activerecord, `isolation_level` `:fiber`", gem: "activerecord", server: :postgresql, parties: 5 do
  require "active_record"
  ActiveSupport::IsolatedExecutionState.isolation_level = :fiber
  options = server.slice(:host, :port, :sslmode, :gssencmode).merge(database: server[:dbname], username: server[:user])
  ActiveRecord::Base.establish_connection(adapter: "postgresql", pool: 5, checkout_timeout: 20, **options)

  each_fiber do |index|
    echoes(index) do |word|
      ActiveRecord::Base.connection_pool.with_connection { |connection| connection.select_value("SELECT '#{word}'") }
    end
  end
end
