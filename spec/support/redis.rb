# frozen_string_literal: true

require "fileutils"
require "tmpdir"

# A real Redis server on a UNIX socket in a directory of its own. It dies with this process in any case (prctl(2),
# PR_SET_PDEATHSIG, by setpriv).
class RedisServer
  SETTINGS = { port: 0, save: "", appendonly: "no", daemonize: "no", databases: 1 }.freeze

  class << self
    # The reason why there is no Redis here, or nil when there is one.
    def missing
      require "redis-client"
      require "redis"
      %w[redis-server setpriv].each { |name| return "#{name} is not installed" unless executable(name) }
      nil
    rescue LoadError => error
      "a gem is not installed for Ruby #{RUBY_VERSION}: #{error.message}"
    end

    def executable(name)
      paths = ENV.fetch("PATH", "").split(":")
      paths.map { |path| File.join(path, name) }.find { |path| File.executable?(path) }
    end
  end

  # The UNIX socket to connect to.
  attr_reader :path

  def initialize
    @directory = Dir.mktmpdir("uring_io-redis")
    @path = File.join(@directory, "socket")
    start
  rescue StandardError
    stop
    raise
  end

  def stop
    if @pid
      Process.kill(:KILL, @pid)
      Process.wait(@pid)
    end
    @output&.close
    FileUtils.remove_entry(@directory)
  end

  private

  # The server reports on standard output that it is ready.
  def start
    options = SETTINGS.merge(unixsocket: @path, dir: @directory).flat_map { |name, value| ["--#{name}", value.to_s] }
    @output, writer = IO.pipe
    @pid = Process.spawn(RedisServer.executable("setpriv"), "--pdeathsig", "KILL",
                         RedisServer.executable("redis-server"), *options,
                         in: File::NULL, out: writer, err: writer, chdir: @directory)
    writer.close
    said = +""
    while (line = @output.gets)
      said << line
      return if line.match?(/ready to accept connections/i)
    end
    raise "Redis does not start: #{said}"
  end
end
