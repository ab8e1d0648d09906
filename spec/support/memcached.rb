# frozen_string_literal: true

require "etc"
require "fileutils"
require "socket"
require "tmpdir"

# A real memcached on a UNIX socket in a directory of its own. It dies with this process in any case (prctl(2),
# PR_SET_PDEATHSIG, by setpriv).
class Memcached
  class << self
    # The reason why there is no memcached here, or nil when there is one.
    def missing
      %w[memcached setpriv].each { |name| return "#{name} is not installed" unless executable(name) }
      nil
    end

    def executable(name)
      paths = ENV.fetch("PATH", "").split(":")
      paths.map { |path| File.join(path, name) }.find { |path| File.executable?(path) }
    end
  end

  # The UNIX socket to connect to.
  attr_reader :path

  def initialize
    @directory = Dir.mktmpdir("uring_io-memcached")
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
    FileUtils.remove_entry(@directory)
  end

  private

  # The server does not report when it is ready.
  def start
    @pid = Process.spawn(Memcached.executable("setpriv"), "--pdeathsig", "KILL", Memcached.executable("memcached"),
                         "-s", @path, "-u", Etc.getpwuid.name, "-m", "16", "-t", "1",
                         in: File::NULL, out: File::NULL, err: File::NULL, chdir: @directory)
    1000.times { ready? ? return : sleep(0.01) }
    raise "memcached does not start"
  end

  def ready?
    UNIXSocket.new(@path).close
    true
  rescue SystemCallError
    false
  end
end
