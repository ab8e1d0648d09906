# frozen_string_literal: true

require "socket"

# A Rails app on a server, in a process of its own. The listening socket is the spec's: connections wait in it while a
# server starts, and while one takes over from another.
class RailsServer
  LIMIT = 30

  # What is served how: a name for the example, and what the program gets.
  Kind = Struct.new(:title, :program, :environment) do
    # Why it cannot run here; nil when it can.
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

  # Those of the chosen backends, the stock ones first.
  def self.kinds
    ours = Backends::CHOSEN.flat_map do |backend|
      env = { "URING_IO_BACKEND" => backend.to_s }
      [Kind.new("Puma with uring_io/nio on #{backend}", %w[puma], env.merge("REACTOR" => "uring_io")),
       Kind.new("async-http on #{backend}", %w[async-http uring_io], env.merge("ISOLATION" => "fiber")),
       Kind.new("Falcon on #{backend}", %w[falcon uring_io], env.merge("ISOLATION" => "fiber"))]
    end
    [STOCK, Kind.new("async-http on io-event's selector", %w[async-http io_event], { "ISOLATION" => "fiber" }), *ours]
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

  # A further process that serves the same socket.
  def start
    log = File.join(@app.path, "log", "#{@port}-#{@starts += 1}.log")
    # As systemd hands a socket over.
    @programs << Program.new(["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh", "bundle", "exec", *kind.command(@port)],
                             @app.environment.merge(kind.environment, "RAILS_ENV" => @environment, "LISTEN_FDS" => "1"),
                             log, { :chdir => @app.path, 3 => @listener })
  end

  # The process that serves longest.
  def program = @programs.first

  # Ends the process that serves longest, as whoever deploys the app does.
  def terminate
    program = @programs.shift
    program.signal("TERM")
    program.wait
  ensure
    program&.kill
  end

  def stop
    @programs.each(&:kill)
    @listener.close
  end

  # A process, whose log says when it serves.
  class Program
    READY = /^(Serving on|Use Ctrl-C to stop)/

    def initialize(command, environment, log, options)
      @log = log
      @pid = Process.spawn(environment, "setpriv", "--pdeathsig", "KILL", *command, in: File::NULL, out: log,
                                                                                    err: %i[child out], **options)
      RailsServer.wait_until("#{command.last(4).join(' ')} does not serve") { raise_if_ended || said.match?(READY) }
    rescue StandardError => error
      kill
      raise error, "#{error.message}\n#{said}"
    end

    def said = File.read(@log)

    def signal(name) = Process.kill(name, @pid)

    def wait
      RailsServer.wait_until("the server does not end") { ended? }
      status
    rescue StandardError => error
      raise error, "#{error.message}\n#{said}"
    end

    def ended?
      !status.nil?
    end

    # How it ended; nil before it has.
    def status
      @status ||= Process.wait2(@pid, Process::WNOHANG)&.last
    end

    def kill
      return if !@pid || ended?

      signal("KILL")
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
