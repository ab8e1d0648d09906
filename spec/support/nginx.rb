# frozen_string_literal: true

require "fileutils"
require "net/http"
require "socket"
require "tmpdir"

# A real nginx on loopback. It starts at its first use and stops with the suite. It dies with this process in any case
# (prctl(2), PR_SET_PDEATHSIG, by setpriv).
class Nginx
  BODY_SIZES = [0, 1, 100, 10_240, 300_000].freeze

  class << self
    # The running server. Only the main thread may call this: the kernel treats the end of the thread that started nginx
    # as the end of the program.
    def instance
      raise ThreadError, "nginx is to be started by the main thread" unless Thread.current == Thread.main

      @instance ||= new
    end

    # The process id of the running server, if there is one.
    def pid
      @instance&.pid
    end

    # The reason why there is no nginx here, or nil when there is one.
    def missing
      "nginx is not installed" unless executable("nginx")
    end

    def stop
      @instance&.stop
      @instance = nil
    end

    def executable(name)
      paths = ENV.fetch("PATH", "").split(":") + %w[/usr/sbin /usr/local/sbin]
      paths.map { |path| File.join(path, name) }.find { |path| File.executable?(path) }
    end
  end

  attr_reader :port, :pid

  def initialize
    @directory = Dir.mktmpdir("uring_io-nginx")
    FileUtils.mkdir_p([File.join(@directory, "html"), File.join(@directory, "temp")])
    BODY_SIZES.each { |size| File.binwrite(File.join(@directory, "html", size.to_s), body(size)) }
    start
  end

  # The bytes that nginx serves at /size.
  def body(size)
    Random.new(size).bytes(size)
  end

  def stop
    Process.kill(:KILL, @pid)
    Process.wait(@pid)
    FileUtils.remove_entry(@directory)
  end

  private

  # nginx cannot take port 0. So this finds a free port, and another one if somebody else was faster.
  def start
    5.times do
      @port = free_port
      write_configuration
      command = [Nginx.executable("nginx"), "-p", @directory, "-c", File.join(@directory, "nginx.conf"),
                 "-e", File.join(@directory, "error.log")]
      setpriv = Nginx.executable("setpriv")
      command = [setpriv, "--pdeathsig", "KILL", *command] if setpriv
      @pid = Process.spawn(*command, in: File::NULL, out: File::NULL, err: File::NULL)
      return if answers?
    end
    raise "nginx does not start: #{File.read(File.join(@directory, 'error.log'))}"
  end

  def free_port
    server = TCPServer.new("127.0.0.1", 0)
    server.local_address.ip_port
  ensure
    server&.close
  end

  # Polls: nginx reports nowhere that it listens.
  def answers?
    500.times do
      TCPSocket.new("127.0.0.1", @port).close
      return true
    rescue Errno::ECONNREFUSED
      return false if Process.wait(@pid, Process::WNOHANG)

      sleep(0.01)
    end
    false
  end

  def write_configuration
    temporary = %w[client_body proxy fastcgi uwsgi scgi].map do |name|
      "#{name}_temp_path #{@directory}/temp/#{name};"
    end
    File.write(File.join(@directory, "nginx.conf"), <<~CONF)
      daemon off;
      master_process off;
      pid #{@directory}/nginx.pid;
      events { worker_connections 512; }
      http {
        access_log off;
        error_log #{@directory}/error.log;
        #{temporary.join("\n  ")}
        server { listen 127.0.0.1:#{@port} backlog=511; root #{@directory}/html; keepalive_requests 10000; }
      }
    CONF
  end
end

RSpec.configure do |config|
  config.after(:suite) { Nginx.stop }
end
