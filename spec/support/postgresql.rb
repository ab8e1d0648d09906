# frozen_string_literal: true

require "etc"
require "fileutils"
require "tmpdir"

# A real PostgreSQL server on a UNIX socket in a directory of its own. It dies with this process in any case (prctl(2),
# PR_SET_PDEATHSIG, by setpriv).
class PostgreSQL
  SETTINGS = { fsync: "off", full_page_writes: "off", synchronous_commit: "off", listen_addresses: "",
               autovacuum: "off", max_connections: "40", shared_buffers: "16MB", dynamic_shared_memory_type: "mmap",
               log_destination: "stderr", logging_collector: "off", log_min_messages: "log",
               log_min_error_statement: "panic", lc_messages: "C" }.freeze
  # PostgreSQL refuses to run as root, so it runs as this user.
  USER = "postgres"

  class << self
    # The reason why there is no PostgreSQL here, or nil when there is one.
    def missing
      require "pg"
      return "PostgreSQL's server is not installed" unless executable("postgres") && executable("initdb")
      return "PostgreSQL refuses to run as root, and there is no user #{USER}" if root? && !user?

      "setpriv is not installed" unless executable("setpriv")
    rescue LoadError => error
      "the gem pg is not installed for Ruby #{RUBY_VERSION}: #{error.message}"
    end

    def executable(name)
      paths = ENV.fetch("PATH", "").split(":") + Dir.glob("/usr/lib/postgresql/*/bin").reverse
      paths.map { |path| File.join(path, name) }.find { |path| File.executable?(path) }
    end

    def root?
      Process.euid.zero?
    end

    private

    def user?
      Etc.getpwnam(USER)
    rescue ArgumentError
      nil
    end
  end

  def initialize
    @directory = Dir.mktmpdir("uring_io-postgresql")
    FileUtils.chown(USER, nil, @directory) if PostgreSQL.root?
    initialize_cluster
    start
  rescue StandardError
    stop
    raise
  end

  # Parameters for PG.connect.
  def parameters
    { host: @directory, dbname: "postgres", user: USER, connect_timeout: 10 }
  end

  # Shuts down immediately, together with the processes that serve connections.
  def stop
    if @pid
      Process.kill(:QUIT, @pid)
      Process.wait(@pid)
    end
    @log&.close
    FileUtils.remove_entry(@directory)
  end

  private

  def initialize_cluster
    output = IO.popen([*as_user, PostgreSQL.executable("initdb"), "--pgdata", data, "--no-sync", "--auth", "trust",
                       "--username", USER, "--encoding", "UTF8", "--locale", "C",
                       { chdir: @directory, err: %i[child out] }], &:read)
    raise "initdb: #{output}" unless $?.success?
  end

  # The server reports on standard error that it is ready.
  def start
    options = SETTINGS.merge(unix_socket_directories: @directory).flat_map { |name, value| ["-c", "#{name}=#{value}"] }
    @log, writer = IO.pipe
    @pid = Process.spawn(*as_user, PostgreSQL.executable("postgres"), "-D", data, *options,
                         in: File::NULL, out: writer, err: writer, chdir: @directory)
    writer.close
    said = +""
    while (line = @log.gets)
      said << line
      return if line.include?("ready to accept connections")
    end
    raise "PostgreSQL does not start: #{said}"
  end

  def as_user
    identity = ["--reuid", USER, "--regid", USER, "--init-groups"] if PostgreSQL.root?
    [PostgreSQL.executable("setpriv"), *identity, "--pdeathsig", "KILL"]
  end

  def data
    File.join(@directory, "data")
  end
end
