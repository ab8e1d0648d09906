# frozen_string_literal: true

require_relative "../support/postgresql"
require_relative "../support/rails_program"

# For Rails, the fibers of UringIO.run are separate executions, with the state that they inherit.
RSpec.describe "In Rails, fibers of UringIO.run" do
  include RailsProgram

  missing = PostgreSQL.missing
  before(:context) { @postgresql = PostgreSQL.new unless missing }
  after(:context) { @postgresql&.stop }

  def program(rest, pool: 5, **)
    env = { "DATABASE_URL" => RailsProgram.url(@postgresql, pool:) }
    rails(<<~RUBY, env:, **)
      def pool = ActiveRecord::Base.connection_pool
      def query(sql) = pool.with_connection { |connection| connection.select_value(sql) }
      class Current < ActiveSupport::CurrentAttributes
        attribute :user, :seen
      end
      #{rest}
    RUBY
  end

  each_backend(only: %i[io_uring epoll], **(missing ? { skip: missing } : {})) do
    it "give all connections back however they end: two hundred of them to a pool of five" do
      said = program(<<~RUBY)
        run = 0
        complete = 0
        Program.executor.to_run { run += 1 }
        Program.executor.to_complete { complete += 1 }
        lease = ->(sql) { ActiveRecord::Base.lease_connection.select_value(sql) }
        work = {
          query: ->(i) { query("SELECT \#{i}") == i },
          lease: ->(i) { lease.call("SELECT \#{i} FROM pg_sleep(0.001)") == i },
          raise: ->(i) { lease.call("SELECT \#{i}") && raise(IndexError) },
          timeout: ->(i) { Timeout.timeout(0.02) { lease.call("SELECT \#{i} FROM pg_sleep(0.01)") } },
          kill: ->(i) { lease.call("SELECT \#{i} FROM pg_sleep(0.01)") },
          again: ->(i) { lease.call("SELECT \#{i}") == i }
        }
        work.each do |name, block|
          run = complete = 0
          right = 0
          Program.executor.wrap do
            UringIO.run(backend:) do
              fibers = Array.new(200) { |i| Fiber.schedule { right += 1 if block.call(i) == true } }
              if name == :kill
                sleep(0.03)
                fibers.each { |fiber| fiber.kill if fiber.alive? }
              end
            end
          end
          left = pool.stat.slice(:busy, :dead, :waiting)
          puts "\#{name}: \#{run} run, \#{complete} complete, \#{right} right, \#{left}"
        end
      RUBY
      # Plus one execution each for the caller and for the block.
      none = { busy: 0, dead: 0, waiting: 0 }
      expect(said.lines(chomp: true)).to eq(
        { query: 200, lease: 200, raise: 0, timeout: 0, kill: 0, again: 200 }.map do |name, right|
          "#{name}: 202 run, 202 complete, #{right} right, #{none}"
        end
      )
    end

    it "neither see the caller's transaction nor use its connection" do
      said = program(<<~RUBY)
        query("CREATE TABLE IF NOT EXISTS things (id serial)")
        query("DELETE FROM things")
        connections = []
        Program.executor.wrap do
          ActiveRecord::Base.transaction do
            query("INSERT INTO things DEFAULT VALUES RETURNING id")
            connections << ActiveRecord::Base.lease_connection
            UringIO.run(backend:, inherit: :execution_state) do
              2.times do
                Fiber.schedule do
                  connections << ActiveRecord::Base.lease_connection
                  seen = query("SELECT count(*) FROM things")
                  puts "\#{seen} in a fiber, \#{connections.last.open_transactions} open"
                end
              end
            end
            puts "\#{query("SELECT count(*) FROM things")} in the transaction"
          end
          puts "\#{connections.uniq.size} connections"
        end
      RUBY
      fibers = "0 in a fiber, 0 open\n" * 2
      expect(said).to eq("#{fibers}1 in the transaction\n3 connections\n")
    end

    it "begin with a copy of the state of the scheduling fiber when they inherit it" do
      said = program(<<~RUBY)
        class Switches
          thread_mattr_accessor :name
        end
        I18n.available_locales = %i[en de fr]
        logger = ActiveSupport::TaggedLogging.new(Logger.new($stdout, formatter: ->(*, text) { "\#{text}\\n" }))
        state = lambda do
          [Current.user, Time.zone.name, I18n.locale, Date.beginning_of_week, Switches.name,
           logger.formatter.current_tags, ActiveSupport::ExecutionContext.to_h, ActiveRecord::Base.current_role]
        end
        change = lambda do |name, zone, locale|
          Current.user = name
          Current.seen = [name]
          Time.zone = zone
          I18n.locale = locale
          Date.beginning_of_week = :friday
          Switches.name = name
          logger.push_tags(name)
          ActiveSupport::ExecutionContext.set(job: name)
        end
        # Rails reads a zone's file only once. A fiber that reads it from a disk would wait, and others would run before
        # it.
        %w[Tokyo Hawaii Paris].each { |name| Time.find_zone!(name).now }
        Program.executor.wrap do
          change.call("caller", "Tokyo", :de)
          ActiveRecord::Base.connected_to(role: :reading) do
            UringIO.run(backend:, inherit: :execution_state) do
              later = Thread::Queue.new
              Fiber.schedule do
                p state.call
                change.call("first", "Hawaii", :fr)
                Fiber.schedule do
                  p state.call
                  change.call("inner", "Paris", :en)
                  later.pop
                  p state.call
                end
                p state.call
              end
              Fiber.schedule { p state.call }
              I18n.with_locale(:fr) { Fiber.schedule { later.pop && p(I18n.locale) } }
              2.times { later << true }
            end
          end
          p state.call, Current.seen
        end
        p Current.user
      RUBY
      of = lambda do |name, zone, locale, tags, role = :reading|
        "#{[name, zone, locale, :friday, name, tags, { job: name }, role].inspect}\n"
      end
      expect(said).to eq(
        "#{of['caller', 'Tokyo', :de, %w[caller]]}#{of['first', 'Hawaii', :fr, %w[caller first]]}" \
        "#{of['first', 'Hawaii', :fr, %w[caller first]]}#{of['caller', 'Tokyo', :de, %w[caller]]}" \
        "#{of['inner', 'Paris', :en, %w[caller first inner]]}:fr\n" \
        "#{of['caller', 'Tokyo', :de, %w[caller], :writing]}[\"caller\"]\nnil\n"
      )
    end

    it "begin without the caller's state otherwise, and leave nothing behind" do
      said = program(<<~RUBY)
        Program.executor.wrap do
          Current.user = "caller"
          Time.zone = "Tokyo"
          UringIO.run(backend:) do
            Fiber.schedule { Current.user = "fiber" }
            Fiber.schedule { p [Current.user, Time.zone.name] }
            p [Current.user, Time.zone.name]
          end
          p [Current.user, Time.zone.name]
        end
      RUBY
      expect(said).to eq(%([nil, "UTC"]\n[nil, "UTC"]\n["caller", "Tokyo"]\n))
    end

    it "are no executions outside of one, where they may live long, but still inherit" do
      said = program(<<~RUBY)
        runs = 0
        Program.executor.to_run { runs += 1 }
        Current.user = "thread"
        UringIO.run(backend:, inherit: :execution_state) do
          Fiber.schedule { p [Current.user, Program.executor.active?] }
          Fiber.schedule { Program.executor.wrap { p [Current.user, Program.executor.active?] } }
        end
        p runs
      RUBY
      # An execution begins with an empty Current.
      expect(said).to eq(%(["thread", false]\n[nil, true]\n1\n))
    end

    it "report their exceptions to Rails.error, but not the end of the scheduler" do
      said = program(<<~RUBY)
        Rails.error.subscribe(Class.new { def report(error, **) = puts(error.message) }.new)
        at_exit { p pool.stat[:busy] }
        Program.executor.wrap { UringIO.run(backend:) { Fiber.schedule { raise IndexError, "in a fiber" } } }
        Program.executor.wrap do
          UringIO.run(backend:) do
            Fiber.schedule do
              ActiveRecord::Base.lease_connection
              sleep
            ensure
              puts "ended"
            end
            exit
          end
        end
      RUBY
      expect(said).to eq("in a fiber\nexit\nended\n0\n")
    end

    it "take the arguments of Fiber.schedule" do
      said = program(<<~RUBY)
        Program.executor.wrap do
          UringIO.run(backend:) do |scheduler|
            scheduler.fiber(1, 2, name: 3) { |*given, name:| p given, name }
            begin
              scheduler.fiber
            rescue ArgumentError => error
              puts error.message
            end
          end
        end
      RUBY
      expect(said).to eq("[1, 2]\n3\na block is needed to run\n")
    end

    it "raise for a kind of state that they cannot inherit" do
      said = program(<<~RUBY)
        begin
          UringIO.run(backend:, inherit: :everything) { raise "runs" }
        rescue ArgumentError => error
          puts error.message
        end
      RUBY
      expect(said).to eq("inherit: must be :execution_state or nil, and is :everything\n")
    end

    it "are refused when Rails lets only one execution run at a time" do
      configure = "config.active_support.isolation_level = :fiber\nconfig.allow_concurrency = false"
      said = program(<<~RUBY, configure:)
        UringIO.run(backend:) { puts "outside" }
        begin
          Program.executor.wrap { UringIO.run(backend:) { raise "runs" } }
        rescue UringIO::Error => error
          puts error.message
        end
      RUBY
      expect(said).to match(/\Aoutside\nconfig.allow_concurrency is false: .* Take the line out/)
    end

    # Rails counts an interlock's shares by thread, and a fiber that waits for a connection gives up all of them
    # meanwhile.
    it "let Rails reload classes between requests, even while they wait for connections" do
      configure = <<~RUBY
        config.active_support.isolation_level = :fiber
        config.enable_reloading = true
        config.root = root = $root
        config.consider_all_requests_local = true
      RUBY
      before = <<~RUBY
        require "action_controller/railtie"
        $root = root
        FileUtils.mkdir_p("\#{root}/app/models")
        path = "\#{root}/app/models/thing.rb"
        # Each version has a time of its own, and none is in the future, which Rails would ignore.
        write = lambda do |version|
          File.write("\#{path}.new", "class Thing\\n  def self.version = \#{version}\\nend\\n")
          File.rename("\#{path}.new", path)
          File.utime(Time.now, Time.now - 1000 + version, path)
        end
        write.call(1)
      RUBY
      said = program(<<~RUBY, configure:, before:, boot: false, pool: 2)
        Program.routes.prepend do
          get "/run", to: (lambda do |_env|
            versions = []
            work = lambda do
              pool.with_connection do |connection|
                versions << Thing.version
                connection.select_value("SELECT 1 FROM pg_sleep(0.001)")
                versions << Thing.version
              end
            end
            UringIO.run(backend:) { 3.times { Fiber.schedule(&work) } }
            [200, {}, [versions.tally.to_s]]
          end)
        end
        Program.initialize!
        Thread.current.report_on_exception = true
        # Each request is in another thread, which stays.
        4.times do |i|
          answer = Thread::Queue.new
          Thread.new do
            status, _, body = Program.call(Rack::MockRequest.env_for("/run"))
            text = +""
            body.each { |part| text << part }
            body.close
            answer << "\#{status} \#{text}"
            sleep
          end
          puts answer.pop(timeout: 10) || "no answer"
          write.call(i + 2)
        end
      RUBY
      expect(said.lines(chomp: true)).to eq(Array.new(4) { |i| "200 #{{ (i + 1) => 6 }}" })
    end

    it "serve the requests of Puma's threads, each with the state of its request" do
      before = "require \"action_controller/railtie\""
      said = program(<<~RUBY, before:, boot: false)
        require "puma"
        require "puma/server"
        require "net/http"
        Program.routes.prepend do
          get "/:id", to: (lambda do |env|
            Current.user = env["action_dispatch.request.path_parameters"][:id]
            answers = UringIO.run(backend:, inherit: :execution_state) do
              found = Thread::Queue.new
              work = ->(i) { found << query("SELECT \#{Current.user} * 10 + \#{i} FROM pg_sleep(0.001)") }
              3.times { |i| Fiber.schedule { work.call(i) } }
              Array.new(3) { found.pop }
            end
            [200, {}, [answers.sort.join(" ")]]
          end)
        end
        Program.initialize!
        puma = Puma::Server.new(Program, nil, min_threads: 4, max_threads: 4, log_writer: Puma::LogWriter.null)
        port = puma.add_tcp_listener("127.0.0.1", 0).local_address.ip_port
        puma.run
        clients = Array.new(4) do |client|
          Thread.new { Array.new(5) { |i| Net::HTTP.get(URI("http://127.0.0.1:\#{port}/\#{client * 5 + i}")) } }
        end
        puts clients.flat_map(&:value)
        puma.stop(true)
        p pool.stat.values_at(:busy, :waiting)
      RUBY
      right = Array.new(20) { |id| Array.new(3) { |i| (id * 10) + i }.join(" ") }
      expect(said.lines(chomp: true)).to eq([*right, "[0, 0]"])
    end

    it "share the one connection of a test that is rolled back" do
      said = program(<<~RUBY)
        query("CREATE TABLE IF NOT EXISTS tested (id int)")
        Program.executor.wrap do
          pool.pin_connection!(true)
          UringIO.run(backend:) do
            insert = ->(i) { query("INSERT INTO tested SELECT \#{i} FROM pg_sleep(0.001) RETURNING id") }
            20.times { |i| Fiber.schedule { insert.call(i) } }
          end
          p query("SELECT count(*) FROM tested"), pool.stat[:connections]
          pool.unpin_connection!
        end
        p query("SELECT count(*) FROM tested")
      RUBY
      expect(said).to eq("20\n1\n0\n")
    end

    # When a Timeout passes just as a connection becomes free, it must not swallow the wakeup for that connection.
    it "do not starve a pool of five with short timeouts" do
      said = program(<<~RUBY)
        outcomes = Hash.new(0)
        4.times do
          Program.executor.wrap do
            UringIO.run(backend:) do
              200.times do |i|
                Fiber.schedule do
                  Timeout.timeout(0.001 * (i + 1)) { query("SELECT 1 FROM pg_sleep(0.002)") }
                  outcomes[:answered] += 1
                rescue Timeout::Error
                  outcomes[:late] += 1
                rescue ActiveRecord::ConnectionTimeoutError
                  outcomes[:starved] += 1
                end
              end
              20.times { Fiber.schedule { query("SELECT 1") && outcomes[:patient] += 1 } }
            end
          end
        end
        p outcomes.values_at(:patient, :starved), outcomes.values.sum, pool.stat.values_at(:busy, :waiting)
      RUBY
      expect(said).to eq("[80, 0]\n880\n[0, 0]\n")
    end
  end
end
