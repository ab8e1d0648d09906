# frozen_string_literal: true

# The tools with which bin/demo.rb starts programs, watches them, and counts their system calls.

require "net/http"
require "socket"

# See bin/demo --help.
module Demo
  # Limits for one step and for everything. A step that takes longer hangs.
  STEP_SECONDS = 30
  ALL_SECONDS = 160

  # With setpriv the kernel ends the children however this program ends. Without it only `ensure` ends them.
  LEASH = system(*%w[setpriv --pdeathsig KILL true], err: File::NULL) ? %w[setpriv --pdeathsig KILL].freeze : [].freeze

  def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  LAST_MOMENT = now + ALL_SECONDS

  # How many seconds to wait for a step.
  def self.patience = (LAST_MOMENT - now).clamp(0, STEP_SECONDS)

  # Why a row of the table is not right.
  class Failed < StandardError; end

  # A process in a group of its own, with a pipe to it and one from it.
  class Child
    attr_reader :pid

    def self.open(*command, **options)
      child = new(command, options)
      yield child
    ensure
      child&.kill
    end

    def initialize(command, options)
      input, @input = IO.pipe
      @output, output = IO.pipe
      @pid = spawn(*LEASH, *command, in: input, out: output, pgroup: true, **options)
      @watcher = Process.detach(@pid)
      [input, output].each(&:close)
    end

    def puts(line) = @input.puts(line)

    # The next line. Calls the block many times a second until the line comes.
    def gets(&)
      wait_for_output(&)
      line = @output.gets and return line
      finish
      raise Failed, "it ended early"
    end

    # The rest of its output.
    def read(&)
      text = +""
      loop do
        wait_for_output(&)
        text << @output.readpartial(65_536)
      end
    rescue EOFError
      text
    end

    # Closes its standard input, and waits until it has ended. Raises when it has not ended well.
    def finish
      @input.close
      @watcher.join(Demo.patience) or raise Failed, "it did not end in time"
      raise Failed, "it ended badly: #{@watcher.value.inspect}" unless @watcher.value.success?
    end

    def signal(name)
      Process.kill(name, -pid)
    rescue Errno::ESRCH
      # The process has ended.
    end

    def kill
      signal("KILL")
      @watcher.join
      [@input, @output].each(&:close)
    end

    private

    def wait_for_output
      limit = Demo.now + Demo.patience
      until @output.wait_readable(0.02)
        raise Failed, "it did not answer in time" if Demo.now > limit

        yield if block_given?
      end
    end
  end

  # The most threads and memory that a process had at any look.
  class Usage
    attr_reader :threads, :kilobytes

    def initialize(pid)
      @status = "/proc/#{pid}/status"
      @threads = @kilobytes = 0
    end

    def look
      found = File.read(@status).scan(/^(Threads|VmHWM):\s+(\d+)/).to_h.transform_values(&:to_i)
      @threads = [threads, *found["Threads"]].max
      @kilobytes = [kilobytes, *found["VmHWM"]].max
    rescue Errno::ENOENT
      # The process has ended. Its Child notices that.
    end
  end

  # Counts the system calls of all threads of a program. strace writes each call to a log, with its time.
  class Strace
    # Why strace does not work here; nil when it does.
    def self.obstacle
      output = IO.popen(["strace", "-o", File::NULL, "true"], err: %i[child out], &:read)
      output.lines.first.to_s.chomp unless Process.last_status.success?
    end

    # The words before the program's own command. The second leash is for the program: it would outlive strace.
    attr_reader :command

    def initialize(folder)
      @log = File.join(folder, "strace.log")
      @command = ["strace", "-f", "-qq", "-ttt", "-e", "raw=all", "-o", @log, *LEASH]
    end

    # @param period [Range<Time>]
    def count(period)
      from = period.begin.to_f
      till = period.end.to_f
      # This pattern leaves out signals, and the second half of a call that another thread's call interrupts in the log.
      File.foreach(@log).count do |line|
        line.match(/\A(?:\d+ +)?(\d+\.\d+) \w+\(/) { |match| match[1].to_f.between?(from, till) }
      end
    end
  end

  # A real nginx that serves files of random bytes.
  class Nginx
    FILES = 20
    FILE_BYTES = 10_240

    attr_reader :listener, :port, :files

    def self.open(folder)
      nginx = new(folder)
      # nginx takes over the listening socket that this variable names, so nobody can take the port in between.
      options = { 5 => nginx.listener, err: File::NULL }
      Child.open("env", "NGINX=5;", "nginx", "-p", folder, "-e", "error.log", "-c", "nginx.conf", **options) do
        nginx.listener.close
        nginx.check
        yield nginx
      end
    end

    def initialize(folder)
      @folder = folder
      @files = File.join(folder, "files")
      Dir.mkdir(files)
      FILES.times { |number| File.binwrite(File.join(files, number.to_s), Random.bytes(FILE_BYTES)) }
      @listener = TCPServer.new("127.0.0.1", 0)
      @port = listener.local_address.ip_port
      File.write(File.join(folder, "nginx.conf"), config)
    end

    def check
      Net::HTTP.start("127.0.0.1", port, nil, open_timeout: 10, read_timeout: 10) { |http| http.get("/0").value }
    rescue SystemCallError, IOError, Net::ProtocolError, Timeout::Error => error
      log = File.join(@folder, "error.log")
      raise Failed, "nginx does not serve: #{error.message}\n#{File.read(log) if File.exist?(log)}"
    end

    private

    def config
      places = %w[client_body proxy fastcgi uwsgi scgi].map { |name| "#{name}_temp_path #{@folder}/#{name};" }
      <<~CONFIG
        daemon off;
        master_process off;
        worker_processes 1;
        pid nginx.pid;
        events { worker_connections 1024; }
        http {
          access_log off;
          #{places.join("\n  ")}
          server {
            listen 127.0.0.1:#{port};
            root #{files};
          }
        }
      CONFIG
    end
  end
end
