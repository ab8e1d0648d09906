# frozen_string_literal: true

require "fileutils"
require "open3"
require "rbconfig"
require "tmpdir"
require_relative "postgresql"

# A Rails app, made by `rails new` in a directory of its own, with the files of spec/programs/rails. Its databases for
# development and production are in a PostgreSQL of its own.
class RailsApp
  FILES = File.expand_path("../programs/rails", __dir__)
  PROJECT = File.expand_path("../..", __dir__)
  GENERATE = %w[--skip-bundle --skip-git --skip-javascript --skip-asset-pipeline --skip-test
                --database=postgresql].freeze
  # Gems that the generated Gemfile lacks. The first one is this project.
  GEMS = %w[uring_io async-http protocol-rack falcon].freeze
  # The time limit in seconds of each program that makes a part of the app.
  LIMIT = 60

  class << self
    # The reason why there can be no app here, or nil when there can be one.
    def missing
      gem = %w[rails pg puma async-http protocol-rack].find { |name| !installed?(name) }
      return "the gem #{gem} is not installed" if gem

      PostgreSQL.missing
    end

    def installed?(gem)
      Gem::Specification.find_all_by_name(gem).any?
    end
  end

  attr_reader :path

  def initialize
    @directory = Dir.mktmpdir("uring_io-rails")
    @path = File.join(@directory, "app")
    @version = 0
    @postgresql = PostgreSQL.new
    generate
    configure
    make_databases
  rescue StandardError
    stop
    raise
  end

  # The environment of the app's programs. The generated database.yml names neither a host nor a user for development.
  def environment
    parameters = @postgresql.parameters
    { "PGHOST" => parameters[:host], "PGUSER" => parameters[:user], "PGDATABASE" => nil,
      "BUNDLE_GEMFILE" => nil, "RUBYOPT" => nil, "RUBYLIB" => nil, "BUNDLE_SILENCE_ROOT_WARNING" => "1",
      "SECRET_KEY_BASE" => "0" * 64, "RAILS_LOG_LEVEL" => "warn", "RAILS_MAX_THREADS" => "8" }
  end

  # The rows of a query to the app's database, as Hashes.
  def query(statement, database: "app_production")
    connection = PG.connect(**@postgresql.parameters, dbname: database)
    connection.exec(statement).to_a
  ensure
    connection&.close
  end

  def balances = query("SELECT balance FROM accounts ORDER BY id").map { |row| row["balance"].to_i }

  # The content of the file that the app sends.
  def large_file
    @large_file ||= Random.new(1).bytes(1_000_000)
  end

  # The name of a new, closed gate (app/streams/gated_lines.rb).
  def gate
    @gates = (@gates || 0) + 1
    "gate-#{@gates}"
  end

  def open_gate(gate) = FileUtils.touch(File.join(@path, "tmp", gate))

  # Changes the number in the controller and in the model, and returns the new number.
  def change_version
    number = @version += 1
    %w[controllers/versions_controller.rb models/version.rb].each do |name|
      file = File.join(@path, "app", name)
      text = File.read(file).sub(/NUMBER = \d+/, "NUMBER = #{number}")
      write_later("#{file}.new", text)
      # With rename(2), a reader gets either the old text or the new one.
      File.rename("#{file}.new", file)
    end
    number
  end

  # Writes a file with another time than before. Rails recognizes a new file by its time, and the kernel's file times
  # advance in ticks of some milliseconds.
  def write_later(path, text)
    loop do
      File.write(path, text)
      changed = File.mtime(path)
      break @changed = changed if @changed.nil? || changed > @changed
    end
  end
  private :write_later

  # Holds the lock of /locked while the block runs. Yields a lambda that returns how many sessions wait for it.
  def locking
    connection = PG.connect(**@postgresql.parameters, dbname: "app_production")
    connection.exec("SELECT pg_advisory_lock(1)")
    yield -> { connection.exec("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").ntuples }
  ensure
    connection&.close
  end

  # The number of sessions of a server's process.
  def sessions(name) = query("SELECT FROM pg_stat_activity WHERE application_name = '#{name}'").size

  # The number of the app's sessions that are idle within a transaction.
  def idle_in_transaction
    query("SELECT FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'").size
  end

  def stop
    @postgresql&.stop
    FileUtils.remove_entry(@directory)
  end

  private

  def generate
    run(RbConfig.ruby, Gem.bin_path("railties", "rails"), "new", "app", *GENERATE, chdir: @directory)
    FileUtils.cp_r("#{FILES}/.", @path)
    %w[storage public].each { |folder| File.binwrite(File.join(@path, folder, "large.bin"), large_file) }
    change("Gemfile") do |text|
      # Leaves out gems that only help developers.
      text = text.lines.reject { |line| (name = line[/^ *gem "(.+?)"/, 1]) && !self.class.installed?(name) }.join
      text + GEMS.filter_map { |name| gem_line(name) }.join
    end
    run("bundle", "install", "--local", "--quiet")
  end

  def gem_line(name)
    return "gem \"uring_io\", path: #{PROJECT.dump}, require: false\n" if name == "uring_io"

    "gem #{name.dump}, require: false\n" if self.class.installed?(name)
  end

  # Follows the guides on fibers, Puma's reactor and Action Cable.
  def configure
    change("config/application.rb") do |text|
      isolation = "    config.active_support.isolation_level = ENV.fetch(\"ISOLATION\", \"thread\").to_sym\n"
      text.sub(/^ *config\.load_defaults .*\n/) { |line| line + isolation }
    end
    change("config/puma.rb") { |text| "#{text}\nrequire \"uring_io/nio\" if ENV[\"REACTOR\"] == \"uring_io\"\n" }
    change("config/cable.yml") { |text| text.sub(/^production:\n.*\z/m, "production:\n  adapter: postgresql\n") }
  end

  def change(name)
    file = File.join(@path, name)
    before = File.read(file)
    after = yield before
    raise "#{name} is not as rails generated it before:\n#{before}" if after == before

    File.write(file, after)
  end

  def make_databases
    query("CREATE ROLE app LOGIN SUPERUSER", database: "postgres")
    query("CREATE DATABASE app_development", database: "postgres")
    run("bundle", "exec", "rails", "db:migrate")
    query("CREATE DATABASE app_production TEMPLATE app_development", database: "postgres")
  end

  def run(*command, chdir: @path)
    output, status = Open3.capture2e(environment, "timeout", "--signal=KILL", LIMIT.to_s, *command, chdir:)
    raise "#{command.join(' ')}: #{status}\n#{output}" unless status.success?
  end
end
