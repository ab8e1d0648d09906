# frozen_string_literal: true

require_relative "../support/postgresql"
require "active_record"

RSpec.describe "ActiveRecord on PostgreSQL, with isolation_level :fiber," do
  missing = PostgreSQL.missing
  before(:context) { @postgresql = PostgreSQL.new unless missing }
  after(:context) { @postgresql&.stop }

  before do
    @isolation = ActiveSupport::IsolatedExecutionState.isolation_level
    ActiveSupport::IsolatedExecutionState.isolation_level = :fiber
  end

  after { ActiveSupport::IsolatedExecutionState.isolation_level = @isolation }

  # Yields a connection pool with this many connections.
  def pool(size)
    parameters = @postgresql.parameters
    # Without a reaper: its thread would outlive the examples.
    ActiveRecord::Base.establish_connection(adapter: "postgresql", pool: size, reaping_frequency: nil,
                                            host: parameters[:host], database: parameters[:dbname],
                                            username: parameters[:user])
    yield ActiveRecord::Base.connection_pool
  ensure
    ActiveRecord::Base.remove_connection
  end

  each_backend(**(missing ? { skip: missing } : {})) do
    it "twenty fibers share five connections, and each gets its own answers" do
      answers = []
      most = 0
      scheduled do
        pool(5) do |pool|
          fibers = Array.new(20) do |index|
            Fiber.schedule do
              pool.with_connection do |connection|
                most = [most, pool.stat[:busy]].max
                answers << [index, connection.select_value("SELECT #{index} * 2 FROM pg_sleep(0.01)")]
              end
            end
          end
          eventually { fibers.none?(&:alive?) }
          expect(pool.stat).to include(busy: 0, waiting: 0)
        end
      end
      expect(answers).to match_array(Array.new(20) { |index| [index, index * 2] })
      expect(most).to eq(5)
    end
  end
end
