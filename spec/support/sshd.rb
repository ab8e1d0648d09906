# frozen_string_literal: true

require "etc"
require "fileutils"
require "socket"
require "tmpdir"

# A real OpenSSH server on a port of 127.0.0.1 that the kernel chooses, with keys of its own, for the user of this
# process. sshd(8) cannot let the kernel choose, so this process accepts, and passes each connection to an `sshd -i`.
class SSHD
  # As root, sshd insists on this folder.
  SEPARATION = "/run/sshd"

  class << self
    # The reason why there is no sshd here, or nil when there is one.
    def missing
      %w[sshd ssh-keygen setpriv].each { |name| return "#{name} is not installed" unless executable(name) }
      return if !Process.euid.zero? || File.directory?(SEPARATION) || File.writable?(File.dirname(SEPARATION))

      "there is no #{SEPARATION}, which sshd needs, and it cannot be made"
    end

    def executable(name)
      paths = ENV.fetch("PATH", "").split(":") + ["/usr/sbin"]
      paths.map { |path| File.join(path, name) }.find { |path| File.executable?(path) }
    end
  end

  def initialize
    @directory = Dir.mktmpdir("uring_io-sshd")
    FileUtils.mkdir_p(SEPARATION, mode: 0o755) if Process.euid.zero?
    configure
    @server = TCPServer.new("127.0.0.1", 0)
    @sessions = Thread::Queue.new
    @thread = Thread.new { accept }
  rescue StandardError
    stop
    raise
  end

  # Parameters for Net::SSH.start.
  def parameters
    { host: "127.0.0.1", port: @server.local_address.ip_port, user: Etc.getpwuid.name, keys: [key("client")] }
  end

  def stop
    @server&.close
    @thread&.join
    until @sessions.nil? || @sessions.empty?
      pid = @sessions.pop
      Process.kill(:KILL, pid)
      Process.wait(pid)
    end
    FileUtils.remove_entry(@directory)
  end

  private

  def configure
    %w[host client].each do |name|
      made = system(SSHD.executable("ssh-keygen"), "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", key(name))
      raise "ssh-keygen could not make a key" unless made
    end
    File.write(File.join(@directory, "config"), <<~CONFIG)
      HostKey #{key('host')}
      AuthorizedKeysFile #{key('client')}.pub
      StrictModes no
      UsePAM no
      PasswordAuthentication no
      PermitRootLogin yes
      PidFile none
    CONFIG
  end

  def key(name)
    File.join(@directory, name)
  end

  def accept
    loop do
      client = @server.accept
      @sessions << Process.spawn(SSHD.executable("setpriv"), "--pdeathsig", "KILL", SSHD.executable("sshd"), "-i",
                                 "-f", File.join(@directory, "config"),
                                 in: client, out: client, err: File::NULL)
      client.close
    end
  rescue IOError
    nil # stopped
  end
end
