# frozen_string_literal: true

require "etc"
require "fileutils"
require "tmpdir"

# A real MariaDB server on a UNIX socket in a directory of its own, without a password. It dies with this process in any
# case (prctl(2), PR_SET_PDEATHSIG, by setpriv).
class MariaDB
  SETTINGS = { "innodb-buffer-pool-size": "8M", "innodb-log-file-size": "4M", "innodb-flush-log-at-trx-commit": "0",
               "max-connections": "60" }.freeze

  class << self
    # The reason why there is no MariaDB here, or nil when there is one.
    def missing
      %w[mariadbd setpriv].each { |name| return "#{name} is not installed" unless executable(name) }
      nil
    end

    def executable(name)
      paths = ENV.fetch("PATH", "").split(":") + ["/usr/sbin"]
      paths.map { |path| File.join(path, name) }.find { |path| File.executable?(path) }
    end
  end

  # The UNIX socket to connect to.
  attr_reader :path

  def initialize
    @directory = Dir.mktmpdir("uring_io-mariadb")
    @path = File.join(@directory, "socket")
    FileUtils.mkdir(File.join(@directory, "data"))
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

  # The server reports on standard error that it is ready. Without grant tables it needs no installation.
  def start
    options = SETTINGS.map { |name, value| "--#{name}=#{value}" }
    @output, writer = IO.pipe
    @pid = Process.spawn(MariaDB.executable("setpriv"), "--pdeathsig", "KILL", MariaDB.executable("mariadbd"),
                         "--no-defaults", "--user=#{Etc.getpwuid.name}", "--datadir=#{@directory}/data",
                         "--socket=#{@path}", "--skip-networking", "--skip-grant-tables", *options,
                         in: File::NULL, out: writer, err: writer, chdir: @directory)
    writer.close
    said = +""
    while (line = @output.gets)
      said << line
      return if line.include?("ready for connections")
    end
    raise "MariaDB does not start: #{said}"
  end
end
