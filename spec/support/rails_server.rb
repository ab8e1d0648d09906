# frozen_string_literal: true

require "socket"

# A Rails app on a server, in a process of its own. The spec owns the listening socket: connections wait in it while a
# server starts, and while one server replaces another.
class RailsServer
  LIMIT = 30
  # The kernel's numbers of ESTABLISHED and CLOSE_WAIT.
  CONNECTED = %w[01 08].freeze

  # A way to serve the app: a title for the example, and the program's arguments and environment.
  Kind = Struct.new(:title, :program, :environment) do
    # The reason why this way cannot run here, or nil when it can.
    def missing
      "the gem falcon is not installed" if program[0] == "falcon" && !RailsApp.installed?("falcon")
    end

    def puma? = program[0] == "puma"

    def command(port)
      return ["puma", "-C", "config/puma.rb", "-b", "tcp://127.0.0.1:#{port}"] if puma?

      ["ruby", "serve.rb", *program]
    end
  end

  STOCK = Kind.new("stock Puma", %w[puma], {})

  # Stock Puma, and the servers that use our selectors, on the chosen backends.
  def self.kinds
    [STOCK] + Backends::CHOSEN.flat_map do |backend|
      env = { "URING_IO_BACKEND" => backend.to_s }
      [Kind.new("Puma with uring_io/nio on #{backend}", %w[puma], env.merge("REACTOR" => "uring_io")),
       Kind.new("async-http on #{backend}", %w[async-http uring_io], env.merge("ISOLATION" => "fiber")),
       Kind.new("Falcon on #{backend}", %w[falcon uring_io], env.merge("ISOLATION" => "fiber"))]
    end
  end

  attr_reader :kind, :port

  def initialize(app, kind, environment)
    @app = app
    @kind = kind
    @environment = environment
    @listener = TCPServer.new("127.0.0.1", 0)
    @port = @listener.local_address.ip_port
    @starts = 0
    @programs = []
    start
  end

  # Starts another process that serves the same socket. The process gets the socket as descriptor 3, as systemd passes
  # one.
  def start
    name = "#{@port}-#{@starts += 1}"
    env = { "RAILS_ENV" => @environment, "LISTEN_FDS" => "1", "PGAPPNAME" => name }
    @programs << Program.new(name, ["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh", "bundle", "exec",
                                    *kind.command(@port)],
                             @app.environment.merge(kind.environment, env), @app.path, @listener)
  end

  # The oldest process.
  def program = @programs.first

  # Ends the oldest process, as a deployment does. The block runs from the time when the process takes no more
  # connections.
  def terminate
    program = @programs.shift
    program.end_by_term
    yield
    program.wait
  ensure
    program&.kill
  end

  # The number of client connections that the processes have open.
  def connections
    local = format(":%04X", @port)
    File.foreach("/proc/net/tcp").count do |line|
      _, address, _, state, _, _, _, _, _, inode = line.split
      address.end_with?(local) && CONNECTED.include?(state) && inode != "0"
    end
  end

  def stop
    @programs.each(&:kill)
    @listener.close
  end

  # A process. Its log says when it is ready.
  class Program
    READY = /^(Serving on|Use Ctrl-C to stop)/
    ENDING = /^(Ending|- Gracefully stopping)/

    # The name of its sessions in PostgreSQL, and of its log.
    attr_reader :name

    def initialize(name, command, environment, folder, listener)
      @name = name
      @log = File.join(folder, "log", "#{name}.log")
      @pid = Process.spawn(environment, "setpriv", "--pdeathsig", "KILL", *command,
                           :in => File::NULL, :out => @log, :err => %i[child out], :chdir => folder, 3 => listener)
      RailsServer.wait_until("#{command.last(4).join(' ')} does not serve") { raise_if_ended || said.match?(READY) }
    rescue StandardError => error
      kill
      raise error, "#{error.message}\n#{said}"
    end

    def said = File.read(@log)

    def end_by_term
      Process.kill(:TERM, @pid)
      RailsServer.wait_until("the server does not take SIGTERM\n#{said}") { said.match?(ENDING) }
    end

    def wait
      RailsServer.wait_until("the server does not end") { ended? }
      status
    rescue StandardError => error
      raise error, "#{error.message}\n#{said}"
    end

    def ended?
      !status.nil?
    end

    # Its exit status, or nil while it runs.
    def status
      @status ||= Process.wait2(@pid, Process::WNOHANG)&.last
    end

    def kill
      return if !@pid || ended?

      Process.kill(:KILL, @pid)
      @status = Process.wait2(@pid).last
    end

    private

    def raise_if_ended
      raise "the server ended: #{@status}" if ended?
    end
  end

  def self.wait_until(complaint)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + LIMIT
    until yield
      raise complaint if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

      sleep(0.02)
    end
  end
end
