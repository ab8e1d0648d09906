# frozen_string_literal: true

# What bin/demo.rb starts, watches and counts with.

require "net/http"
require "socket"

# See bin/demo --help.
module Demo
  # Nothing takes so long unless it hangs.
  STEP_SECONDS = 30
  ALL_SECONDS = 160

  # However this program ends, the kernel then ends its children. Where there is no setpriv, `ensure` must do.
  LEASH = system(*%w[setpriv --pdeathsig KILL true], err: File::NULL) ? %w[setpriv --pdeathsig KILL].freeze : [].freeze

  def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  LAST_MOMENT = now + ALL_SECONDS

  # How many seconds to wait for something.
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

    # The next line. The block is called many times a second until it comes.
    def gets(&)
      wait_for_output(&)
      line = @output.gets and return line
      finish
      raise Failed, "it ended early"
    end

    # All that it has left to say.
    def read(&)
      text = +""
      loop do
        wait_for_output(&)
        text << @output.readpartial(65_536)
      end
    rescue EOFError
      text
    end

    # Closes its standard input and waits until it has ended, well.
    def finish
      @input.close
      @watcher.join(Demo.patience) or raise Failed, "it did not end in time"
      raise Failed, "it ended badly: #{@watcher.value.inspect}" unless @watcher.value.success?
    end

    def signal(name)
      Process.kill(name, -pid)
    rescue Errno::ESRCH
      # It has ended.
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

  # The most threads and memory that a process was seen with.
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
      # It has ended, which is for others to notice.
    end
  end

  # Counts the system calls of a program in all its threads, from outside: each is written down with its time.
  class Strace
    # Why it does not work here, if so.
    def self.obstacle
      output = IO.popen(["strace", "-o", File::NULL, "true"], err: %i[child out], &:read)
      output.lines.first.to_s.chomp unless Process.last_status.success?
    end

    # What goes before the program. strace's end would not end the program, hence the second leash.
    attr_reader :command

    def initialize(folder)
      @log = File.join(folder, "strace.log")
      @command = ["strace", "-f", "-qq", "-ttt", "-e", "raw=all", "-o", @log, *LEASH]
    end

    # @param period [Range<Time>]
    def count(period)
      from = period.begin.to_f
      till = period.end.to_f
      # No signals, and not the second half of a call that one of another thread came into.
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
      # nginx takes over the listening socket that this variable names: nobody can take the port in between.
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
