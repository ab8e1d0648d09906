# frozen_string_literal: true

require_relative "child_program"

# Runs programs on Rails: a small application in a directory of its own, in a process of its own.
module RailsProgram
  # @param rest [String] the code that runs after the application's boot
  # @param configure [String] code in the class of the application
  # @param before [String] code before that class
  # @param boot [Boolean] whether Rails boots before the rest
  def self.script(rest, configure: "config.active_support.isolation_level = :fiber", before: "", boot: true)
    <<~RUBY
      require "tmpdir"
      require "logger"
      require "active_record/railtie"
      root = Dir.mktmpdir("uring_io-rails")
      at_exit { FileUtils.remove_entry(root) }
      backend = ARGV.fetch(0).to_sym
      #{before}

      class Program < Rails::Application
        config.load_defaults 7.2
        config.eager_load = false
        config.secret_key_base = "0" * 32
        config.logger = Logger.new(IO::NULL)
        config.hosts.clear
        #{configure}
      end
      Program.config.root = root
      Program.initialize! if #{boot}
      Thread.report_on_exception = false
      Thread.current.report_on_exception = false
      #{rest}
    RUBY
  end

  # The address of a server for DATABASE_URL.
  def self.url(postgresql, pool: 5)
    parameters = postgresql.parameters
    "postgresql:///#{parameters[:dbname]}?host=#{parameters[:host]}&user=#{parameters[:user]}&pool=#{pool}"
  end

  # Gives examples +rails+: the output of such a program. Rails loads before the gem, as with Bundler.
  def rails(rest, env: {}, **)
    result = child(RailsProgram.script(rest, **), backend, env: { "RUBYOPT" => "-rrails", **env }, limit: 60)
    expect(result.stderr).to eq("")
    expect(result.status).to be_success
    result.stdout
  end
end
