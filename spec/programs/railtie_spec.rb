# frozen_string_literal: true

require_relative "../support/rails_program"

# Shows when the gem refuses to make a scheduler.
RSpec.describe "A Rails program" do
  include RailsProgram

  let(:attempt) do
    <<~RUBY
      def attempt
        yield
        puts "made"
      rescue UringIO::Error => error
        puts error.message
      end
    RUBY
  end

  each_backend(only: %i[io_uring epoll]) do
    context "with ActiveRecord and isolation_level :thread," do
      let(:configure) { "" }

      it "gets an error that says what to write, and no scheduler" do
        said = rails(<<~RUBY, configure:)
          #{attempt}
          attempt { UringIO.run(backend:) { raise "runs" } }
          attempt { UringIO::Scheduler.new(backend:) }
          attempt { Class.new(UringIO::Scheduler).new(backend:) }
          p Fiber.scheduler
        RUBY
        error = "ActiveRecord is loaded, and isolation_level is :thread: all fibers of a thread would use one " \
                "database connection at the same time, which crashes the process. Write " \
                "`config.active_support.isolation_level = :fiber` in config/application.rb. Where no fiber ever uses " \
                "ActiveRecord, `config.uring_io.check_isolation = false` allows it as it is.\n"
        expect(said).to eq("#{error * 3}nil\n")
      end

      it "gets a scheduler when its config says that no fiber uses ActiveRecord" do
        said = rails(<<~RUBY, configure: "config.uring_io.check_isolation = false")
          #{attempt}
          attempt { UringIO.run(backend:) { sleep(0) } }
        RUBY
        expect(said).to eq("made\n")
      end

      it "may set that config later as well" do
        said = rails(<<~RUBY, configure:)
          #{attempt}
          Program.config.uring_io.check_isolation = false
          attempt { UringIO.run(backend:) { sleep(0) } }
        RUBY
        expect(said).to eq("made\n")
      end
    end

    context "with ActiveRecord and isolation_level :fiber," do
      it "gets schedulers in every thread" do
        said = rails(<<~RUBY)
          #{attempt}
          Thread.new { attempt { UringIO.run(backend:) { sleep(0) } } }.join
          attempt { UringIO::Scheduler.new(backend:).close }
        RUBY
        expect(said).to eq("made\nmade\n")
      end

      it "learns in an initializer that Rails sets the level later" do
        said = rails(<<~RUBY, boot: false)
          #{attempt}
          Program.initializer("early") do |app|
            attempt { UringIO.run(backend:) { sleep(0) } }
            app.config.after_initialize { attempt { UringIO.run(backend:) { sleep(0) } } }
          end
          Program.initialize!
        RUBY
        expect(said.lines.first).to include("Rails applies it at the end of its boot").and include("after_initialize")
        expect(said.lines.last).to eq("made\n")
      end
    end

    it "without ActiveRecord gets schedulers at any level" do
      said = child(<<~RUBY, backend, env: { "RUBYOPT" => "-rrails" }, limit: 60)
        require "active_support/isolated_execution_state"
        UringIO.run(backend: ARGV[0].to_sym) { puts ActiveSupport::IsolatedExecutionState.isolation_level }
      RUBY
      expect(said.stdout).to eq("thread\n")
    end

    # Rails 7.0 has no method that returns the place of the state.
    {
      "that has loaded nothing but Rails' state" => "",
      "on Rails 7.0" => "ActiveSupport::IsolatedExecutionState.private_class_method :context"
    }.each do |which, older|
      it "#{which} lets fibers inherit the state" do
        said = child(<<~RUBY, backend, limit: 60)
          require "active_support/isolated_execution_state"
          require "uring_io/rails"
          #{older}
          ActiveSupport::IsolatedExecutionState.isolation_level = :fiber
          ActiveSupport::IsolatedExecutionState[:named] = :value
          UringIO.run(backend: ARGV[0].to_sym, inherit: :execution_state) do
            Fiber.schedule { p ActiveSupport::IsolatedExecutionState[:named] }
          end
        RUBY
        expect([said.stderr, said.stdout]).to eq(["", ":value\n"])
      end
    end

    it "may load the gem before Rails, and the gem's Rails part later" do
      said = child(<<~RUBY, backend, limit: 60)
        require "active_record"
        backend = ARGV[0].to_sym
        puts UringIO.run(backend:) { "unchecked" }
        require "uring_io/rails"
        begin
          UringIO.run(backend:) { raise "runs" }
        rescue UringIO::Error => error
          puts error.message
        end
        ActiveSupport::IsolatedExecutionState.isolation_level = :fiber
        puts UringIO.run(backend:) { "checked" }
      RUBY
      expect(said.stdout.lines).to match(
        ["unchecked\n", /Write `ActiveSupport::IsolatedExecutionState.isolation_level = :fiber` first/, "checked\n"]
      )
    end
  end
end
