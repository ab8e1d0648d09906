# frozen_string_literal: true

require "json"
require_relative "../support/postgresql"
require_relative "jobs/token_server"

# Performs jobs in fibers, as Solid Queue's fiber workers do: many slow streams, and few connections to the database.
RSpec.describe "examples/job_worker.rb" do
  missing = PostgreSQL.missing
  before(:context) { @postgresql = PostgreSQL.new unless missing }
  after(:context) { @postgresql&.stop }

  # Runs the example, and prints in the end what it leaves behind: its pool, its connections to the token server, and
  # the number of its database connections that are still in a transaction.
  let(:script) do
    <<~RUBY
      at_exit do
        next if $!.is_a?(SystemExit) && !$!.success?
        http = ObjectSpace.each_object(TCPSocket).count do |socket|
          !socket.closed?
        rescue IOError
          false # its connect(2) has failed
        end
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = current_setting('application_name') " \\
                "AND pid <> pg_backend_pid() AND state <> 'idle'"
        database = PG.connect
        in_transaction = nil
        1000.times do # a dropped connection takes a moment to end
          in_transaction = database.exec(query).getvalue(0, 0).to_i
          break if in_transaction.zero?
          sleep(0.005)
        end
        database.close
        pool = ActiveRecord::Base.connection_pool.stat.slice(:size, :busy, :dead, :waiting)
        puts({ pool:, http:, in_transaction: }.to_json)
      end
      load ARGV.shift
    RUBY
  end

  def worker(name, *options)
    parameters = @postgresql.parameters
    env = { "PGHOST" => parameters[:host], "PGUSER" => parameters[:user], "PGDATABASE" => parameters[:dbname],
            "PGAPPNAME" => name }
    ChildProgram.new(script, File.expand_path("../../examples/job_worker.rb", __dir__), *options, env:, limit: 120)
  end

  def workers(number, *options)
    programs = Array.new(number) { |index| worker("worker #{index}", "--backend", backend, *options) }
    yield programs
  ensure
    programs&.each(&:stop)
  end

  def with_server(...)
    server = TokenServer.new(...)
    yield server
  ensure
    server&.stop
  end

  def with_jobs
    @database = PG.connect(@postgresql.parameters.merge(options: "-c client_min_messages=warning"))
    if @database.exec("SELECT to_regclass('jobs')").getisnull(0, 0)
      setup = worker("setup", "--setup")
      expect(setup.finish).to have_attributes(stderr: "", status: be_success)
    end
    yield
  ensure
    setup&.stop
    @database&.exec("TRUNCATE jobs RESTART IDENTITY; ALTER TABLE jobs DROP CONSTRAINT IF EXISTS refused")
    @database&.close
  end

  def add_job(url, seconds = nil)
    @database.exec_params("INSERT INTO jobs (url, seconds) VALUES ($1, $2)", [url, seconds])
  end

  def rows
    @database.exec("SELECT * FROM jobs ORDER BY id").to_h { |row| [row["id"].to_i, row.transform_keys(&:to_sym)] }
  end

  def statuses(ids)
    sleep(0.02) # examples poll this, and the workers need the processors
    query = "SELECT status, count(*) FROM jobs WHERE id = ANY ($1) GROUP BY status"
    @database.exec_params(query, ["{#{ids.join(',')}}"]).values.to_h.transform_values(&:to_i)
  end

  def cancel(ids, how)
    @database.exec_params("UPDATE jobs SET cancel = $1 WHERE id = ANY ($2)", [how, "{#{ids.join(',')}}"])
  end

  def expect_nothing_left(result)
    expect(result).to have_attributes(stderr: "", status: be_success)
    expect(JSON.parse(result.stdout.lines.last, symbolize_names: true))
      .to eq(pool: { size: 5, busy: 0, dead: 0, waiting: 0 }, http: 0, in_transaction: 0)
  end

  each_backend(only: %i[io_uring epoll], **(missing ? { skip: missing } : {})) do
    it "writes 200 streams over two pools of 5, and the received part of cancelled ones", limit: 120 do
      kinds = Array.new(200) { |index| %i[time raise kill term][index % 13] || :whole }
      ids = (1..200).group_by { |id| kinds[id - 1] }
      with_jobs do
        with_server(ids[:whole].size) do |server|
          kinds.each.with_index(1) do |kind, id|
            add_job(server.url(kind == :whole ? "whole" : "endless", id), (0.5 if kind == :time))
          end
          results = workers(2, "--tokens", 1, "--grace", 0.2) do |programs|
            eventually { (ids.values_at(:raise, :kill).flatten - server.begun).empty? }
            cancel(ids[:raise], "raise")
            cancel(ids[:kill], "kill")
            eventually { statuses(ids.values_at(:whole, :time, :raise, :kill).flatten).keys.sort == %w[cancelled done] }
            # While the workers are alive, only the client can close these connections.
            eventually { server.open.sort == ids[:term] }
            programs.each { |program| program.signal(:TERM) }
            programs.map(&:finish)
          end
          results.each { |result| expect_nothing_left(result) }
        end
        found = rows
        ids[:whole].each { |id| expect(found[id]).to include(status: "done", text: TokenServer.text(id)) }
        ids.except(:whole).each_value do |cancelled|
          cancelled.each do |id|
            expect(found[id]).to include(status: "cancelled", error: nil)
            expect(TokenServer).to be_cut_off(id, found[id][:text])
          end
        end
      end
    end

    it "finishes its running jobs at the first SIGTERM, takes no others, and cancels them at the second SIGTERM",
       limit: 60 do
      held = [*1..10]
      endless = [*11..20]
      waiting = [*21..25]
      with_jobs do
        with_server(Float::INFINITY) do |server|
          held.each { |id| add_job(server.url("whole", id)) }
          endless.each { |id| add_job(server.url("endless", id)) }
          waiting.each { |id| add_job(server.url("whole", id)) }
          workers(1, "--jobs", 20, "--grace", 60) do |(program)|
            eventually { server.begun.sort == held + endless }
            program.signal(:TERM)
            expect(program.gets).to eq("Working on 20 jobs at a time (#{backend})\n")
            expect(program.gets).to eq("Stopping: 20 jobs are under way\n")
            server.release
            eventually { statuses(held) == { "done" => 10 } }
            program.signal(:TERM)
            result = program.finish
            expect_nothing_left(result)
            expect(result.stdout.lines.first).to match(/\AStopped: .*10 done, 10 cancelled$/)
          end
          expect(server.begun.sort).to eq(held + endless)
        end
        expect(statuses(endless)).to eq("cancelled" => 10)
        expect(statuses(waiting)).to eq("ready" => 5)
      end
    end

    it "records why a job failed, keeps its received part, closes its stream, and goes on", limit: 60 do
      with_jobs do
        with_server(0) do |server|
          @database.exec("ALTER TABLE jobs ADD CONSTRAINT refused CHECK (id <> 4 OR text NOT LIKE '%4:3%')")
          [server.url("broken", 1), "#{server.url('whole', 2)} ", "http://127.0.0.1:1/", server.url("endless", 4),
           server.url("whole", 5)].each { |url| add_job(url) }
          workers(1, "--tokens", 1) do |(program)|
            eventually { statuses([*1..5]) == { "failed" => 4, "done" => 1 } && server.open.empty? }
            program.signal(:TERM)
            expect_nothing_left(program.finish)
          end
        end
        expect(rows.values).to match(
          [include(status: "failed", text: TokenServer.tokens(1).first(3).join, error: "end of file reached"),
           include(status: "failed", text: "", error: start_with("bad URI")),
           include(status: "failed", text: "", error: match(/refused/)),
           include(status: "failed", text: TokenServer.tokens(4).first(3).join, error: match(/violates check constr/)),
           include(status: "done", text: TokenServer.text(5), error: nil)]
        )
      end
    end
  end
end

# Runs the examples that need a database. spec/docs_spec.rb runs the others, and skips these because no gem has that
# name.
RSpec.describe "The examples of docs/jobs.md" do
  missing = PostgreSQL.missing
  before(:context) { @postgresql = PostgreSQL.new unless missing }
  after(:context) { @postgresql&.stop }

  page = File.read(File.expand_path("../../docs/jobs.md", __dir__))
  examples = page.scan(/^```ruby needs=[\w,]*\bpostgresql\n(.*?)^```\n\n```text\n(.*?)^```\n/m)
  raise "docs/jobs.md has no example with a database" if examples.empty?

  each_backend(only: %i[io_uring epoll], **(missing ? { skip: missing } : {})) do |backend|
    examples.each.with_index(1) do |(code, output), number|
      it "number #{number} with a database prints the output on the page", limit: 60 do
        parameters = @postgresql.parameters
        # Each example begins with an empty schema.
        PG.connect(parameters).tap { |database| database.exec("CREATE SCHEMA #{backend}_#{number}") }.close
        env = { "PGHOST" => parameters[:host], "PGUSER" => parameters[:user], "PGDATABASE" => parameters[:dbname],
                "PGOPTIONS" => "-c search_path=#{backend}_#{number}", "URING_IO_BACKEND" => backend.to_s }
        expect(child(code, env:, limit: 60)).to have_attributes(stdout: output, stderr: "", status: be_success)
      end
    end
  end
end
