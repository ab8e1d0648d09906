# frozen_string_literal: true

require_relative "../support/postgresql"

RSpec.describe "PostgreSQL through the gem pg, on one thread," do
  missing = PostgreSQL.missing
  before(:context) { @postgresql = PostgreSQL.new unless missing }
  after(:context) { @postgresql&.stop }

  def connect
    connection = PG.connect(**@postgresql.parameters)
    yield connection
  ensure
    connection&.close
  end

  # The number of queries that wait for an advisory lock now.
  def waiting(connection)
    connection.exec("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").getvalue(0, 0).to_i
  end

  each_backend(**(missing ? { skip: missing } : {})) do |_backend|
    it "ten queries wait in the server at the same time" do
      got = []
      most = nil
      scheduled do
        connect do |holder|
          holder.exec("SELECT pg_advisory_lock(7)")
          10.times do |index|
            Fiber.schedule do
              connect do |connection|
                connection.exec("SELECT pg_advisory_lock_shared(7)")
                got << connection.exec_params("SELECT $1::int * 2", [index]).getvalue(0, 0).to_i
              end
            end
          end
          eventually { waiting(holder) == 10 }
          most = waiting(holder)
          expect(got).to be_empty
          holder.exec("SELECT pg_advisory_unlock(7)")
        end
      end
      expect(most).to eq(10)
      expect(got).to match_array(Array.new(10) { |index| index * 2 })
    end

    it "pg_sleep overlaps in several fibers" do
      order = []
      start = monotonic
      scheduled do
        connected = 0
        3.times do
          Fiber.schedule do
            connect do |connection|
              # A busy server needs time to connect, and to send an answer that is due.
              connected += 1
              eventually { connected == 3 }
              order << :sends
              connection.exec_params("SELECT pg_sleep($1)", [0.1])
              order << :has
            end
          end
        end
      end
      expect(monotonic - start).to be >= 0.1
      expect(order).to eq(([:sends] * 3) + ([:has] * 3))
    end

    it "a notification goes round a ring of fibers, each on a connection of its own that LISTENs" do
      order = []
      scheduled do
        listening = 0
        5.times do |index|
          Fiber.schedule do
            connect do |connection|
              connection.exec("LISTEN ring_#{index}")
              listening += 1
              connection.wait_for_notify(10) { |_, _, payload| order << [index, payload] }
              connection.exec("NOTIFY ring_#{index + 1}, 'from #{index}'")
            end
          end
        end
        connect do |last|
          last.exec("LISTEN ring_5")
          eventually { listening == 5 }
          last.exec("NOTIFY ring_0, 'start'")
          last.wait_for_notify(10) { |_, _, payload| order << [5, payload] }
        end
      end
      expect(order).to eq([[0, "start"], *Array.new(5) { |index| [index + 1, "from #{index}"] }])
    end

    it "wait_for_notify gives up after its timeout, not before" do
      scheduled do
        connect do |connection|
          connection.exec("LISTEN silence")
          start = monotonic
          expect(connection.wait_for_notify(0.02)).to be_nil
          expect(monotonic - start).to be >= 0.02
        end
      end
    end

    it "an error of a query raises in its fiber while another query waits, and the connection works afterwards" do
      order = []
      scheduled do
        connect do |holder|
          holder.exec("SELECT pg_advisory_lock(8)")
          Fiber.schedule do
            connect do |connection|
              connection.exec("SELECT pg_advisory_lock(8)")
              order << :other_done
            end
          end
          eventually { waiting(holder) == 1 }
          expect { holder.exec("SELECT 1 / 0") }.to raise_error(PG::DivisionByZero, /division by zero/)
          expect { holder.exec("SELEKT") }.to raise_error(PG::SyntaxError)
          order << holder.exec("SELECT 'goes on'").getvalue(0, 0)
        end
      end
      expect(order).to eq(["goes on", :other_done])
    end

    it "Timeout ends a waiting query, and another connection goes on" do
      order = []
      scheduled do
        connect do |other|
          Fiber.schedule do
            connect do |connection|
              start = monotonic
              error = raised { Timeout.timeout(0.05) { connection.exec("SELECT pg_sleep(60)") } }
              order << [error.class, (0.05..10).cover?(monotonic - start)]
              connection.cancel
              connection.discard_results
              order << connection.exec("SELECT 'usable'").getvalue(0, 0)
            end
          end
          order << other.exec("SELECT 'other'").getvalue(0, 0)
        end
      end
      expect(order).to eq(["other", [Timeout::Error, true], "usable"])
    end

    it "another fiber can cancel a query, and so can the server's statement_timeout" do
      scheduled do
        connect do |connection|
          error = nil
          Fiber.schedule { error = raised { connection.exec("SELECT pg_sleep(60)") } }
          connect do |observer|
            active = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
            eventually { observer.exec(active).getvalue(0, 0) == "1" }
          end
          connection.cancel
          eventually { error }
          expect(error).to be_a(PG::QueryCanceled)
          connection.exec("SET statement_timeout = 20")
          start = monotonic
          expect { connection.exec("SELECT pg_sleep(60)") }.to raise_error(PG::QueryCanceled, /statement timeout/)
          expect(monotonic - start).to be >= 0.02
        end
      end
    end

    it "COPY moves 2 MB in and out through two fibers at once, and a transaction that raises leaves no rows" do
      rows = Array.new(2) { |table| Array.new(10_000) { |row| "#{row}\t#{'abcdefghij'[row % 10] * (100 + table)}\n" } }
      copied = []
      order = []
      scheduled do
        2.times do |table|
          Fiber.schedule do
            connect do |connection|
              connection.exec("CREATE TEMPORARY TABLE copied (number int, text text)")
              connection.copy_data("COPY copied FROM STDIN") do
                rows[table].each_slice(1000) do |slice|
                  order << table
                  connection.put_copy_data(slice.join)
                  eventually { order.count(1 - table) >= order.count(table) } # in turns
                end
              end
              copied[table] = []
              connection.copy_data("COPY copied TO STDOUT") do
                while (row = connection.get_copy_data)
                  copied[table] << row
                end
              end
              raised { connection.transaction { connection.exec("DELETE FROM copied") && raise("no") } }
              expect(connection.exec("SELECT count(*) FROM copied").getvalue(0, 0)).to eq("10000")
            end
          end
        end
      end
      expect(copied == rows).to be(true)
      expect(order.each_slice(2).map(&:sort)).to eq([[0, 1]] * 10)
    end

    it "a killed server process raises PG::ConnectionBad or UnableToSend only in its own fiber" do
      scheduled do
        connect do |survivor|
          error = nil
          victim = PG.connect(**@postgresql.parameters)
          process = victim.backend_pid
          Fiber.schedule { error = raised { victim.exec("SELECT pg_sleep(60)") } }
          survivor.exec_params("SELECT pg_terminate_backend($1)", [process])
          eventually { error }
          expect(error).to be_a(PG::Error)
          expect(survivor.exec("SELECT 1").getvalue(0, 0)).to eq("1")
        ensure
          victim&.close
        end
      end
    end
  end
end
