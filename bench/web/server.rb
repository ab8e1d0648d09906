# frozen_string_literal: true

require "etc"
require "net/http"
require "rbconfig"
require "tempfile"

module WebBench
  Failed = Class.new(StandardError)

  # The figures of one run of wrk on a fresh server. Times are in microseconds, memory is in KB.
  Measurement = Data.define(:rate, :median, :slow, :processor, :memory)

  # Programs that end with this one, however this one ends.
  module Programs
    def self.executable(name)
      ENV.fetch("PATH", "").split(":").map { |folder| File.join(folder, name) }.find { |file| File.executable?(file) }
    end

    SETPRIV = executable("setpriv")
    TIED = SETPRIV ? [SETPRIV, "--pdeathsig", "KILL"].freeze : [].freeze
    END_SECONDS = 15

    def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

    # Ends a program. True when it ended after SIGTERM, and false when only SIGKILL ended it.
    def self.end(pid)
      Process.kill(:TERM, pid)
      deadline = now + END_SECONDS
      until (gone = Process.wait(pid, Process::WNOHANG)) || now > deadline
        sleep(0.01)
      end
      !gone.nil?
    ensure
      unless gone
        Process.kill(:KILL, pid)
        Process.wait(pid)
      end
    end
  end

  # A server in a process of its own, for the time of a block.
  class Server
    READY_SECONDS = 30
    ANSWER_SECONDS = 30
    TICKS = Etc.sysconf(Etc::SC_CLK_TCK)

    def self.open(...)
      server = new(...)
      yield server
    ensure
      server&.close
    end

    attr_reader :port

    # @param command [Array] environment, program and arguments
    def initialize(command)
      @errors = Tempfile.new("web_bench")
      @output, writer = IO.pipe
      env, *program = command
      @pid = Process.spawn(env, *Programs::TIED, *program, in: File::NULL, out: writer, err: @errors.path)
      writer.close
      @port = read_port
    rescue StandardError
      close
      raise
    end

    def measure(path, connections, seconds)
      before = processor
      report = wrk(path, connections, seconds)
      used = processor - before
      Measurement.new(rate: report[%r{^Requests/sec:\s+([\d.]+)}, 1].to_f, median: latency(report, "50"),
                      slow: latency(report, "99"), processor: used / requests(report) * 1e6, memory:)
    end

    # The system calls of all its processes and threads, for each request. strace makes the server slow, so we measure
    # nothing else meanwhile.
    def system_calls(path, connections, seconds)
      Tempfile.create("web_bench") do |summary|
        report = traced(summary.path) { wrk(path, connections, seconds) }
        File.read(summary.path)[/^\s*(\d+)\s+total$/, 1].to_f / requests(report)
      end
    end

    # Sends requests before the measurement, so that it does not include the work of first requests, such as connecting
    # to a database.
    def warm_up(path, connections, seconds) = wrk(path, connections, seconds)

    # Raises unless the server gives the right answer for the path.
    def check(path, body)
      Net::HTTP.start("127.0.0.1", @port, open_timeout: ANSWER_SECONDS, read_timeout: ANSWER_SECONDS) do |http|
        3.times do
          response = http.get(path)
          next if response.code == "200" && response.body == body

          raise Failed, "GET #{path} gives #{response.code} #{response.body.inspect[0, 200]} #{said}"
        end
      end
    rescue SystemCallError, IOError, Timeout::Error, Net::ProtocolError => error
      raise Failed, "GET #{path}: #{error.message} (#{error.class}) #{said}"
    end

    # Ends the server. Returns whether it ended after SIGTERM. May be called again.
    def close
      return @ended if @closed

      @closed = true
      @ended = @pid && Programs.end(@pid)
    ensure
      @output&.close
      @errors&.close!
    end

    private

    def read_port
      deadline = Programs.now + READY_SECONDS
      text = +""
      until (port = text[%r{Listening on http://127\.0\.0\.1:(\d+)\D}, 1])
        ready = @output.wait_readable([deadline - Programs.now, 0].max)
        chunk = @output.read_nonblock(4096, exception: false) if ready
        raise Failed, "the server does not start: #{text} #{said}" unless chunk.is_a?(String)

        text << chunk
      end
      Integer(port)
    end

    def wrk(path, connections, seconds)
      command = ["wrk", "--threads", "1", "--connections", connections.to_s, "--duration", "#{seconds}s",
                 "--timeout", "#{ANSWER_SECONDS}s", "--latency", "http://127.0.0.1:#{@port}#{path}"]
      output, writer = IO.pipe
      pid = Process.spawn(*Programs::TIED, *command, in: File::NULL, out: writer, err: writer)
      writer.close
      report = output.read
      _, status = Process.wait2(pid)
      pid = nil
      raise Failed, "wrk ends with #{status.exitstatus || status.inspect}: #{report}" unless status.success?

      report
    ensure
      Programs.end(pid) if pid
      output&.close
    end

    # How many requests the server answered. Raises unless all answers were right.
    def requests(report)
      number = report[/(\d+) requests in /, 1].to_i
      problem = report[/Socket errors.*|Non-2xx.*/]
      problem ||= "no request was answered" if number.zero?
      raise Failed, "#{problem} #{said}".strip if problem

      number
    end

    # Returns the value of the block. strace counts while the block runs.
    def traced(summary)
      pids = processes
      input, output = IO.pipe
      tracer = Process.spawn(*Programs::TIED, "strace", "-f", "-c", "-U", "calls,name", "-o", summary,
                             *pids.flat_map { |pid| ["-p", pid.to_s] }, in: File::NULL, err: output)
      output.close
      attached(input, pids.size)
      value = yield
      Process.kill(:INT, tracer) # it writes its summary
      Process.wait(tracer)
      tracer = nil
      value
    ensure
      Programs.end(tracer) if tracer
    end

    def attached(input, number)
      deadline = Programs.now + READY_SECONDS
      said = +""
      until said.scan(/ attached/).size >= number
        ready = input.wait_readable([deadline - Programs.now, 0].max)
        raise Failed, "strace does not attach: #{said}" unless ready

        said << input.readpartial(4096)
      end
      Thread.new { input.read && input.close } # strace may print more, and must not block at a full pipe
    rescue EOFError
      input.close
      raise Failed, "strace does not attach: #{said}"
    end

    def latency(report, percent)
      number, unit = report.match(/^\s+#{percent}%\s+([\d.]+)(us|ms|s|m)\s*$/)&.captures
      raise Failed, "wrk tells no latency: #{report}" unless unit

      (number.to_f * { "us" => 1, "ms" => 1_000, "s" => 1_000_000, "m" => 60_000_000 }.fetch(unit)).round
    end

    # The pids of the server and its workers.
    def processes(pid = @pid)
      workers = Dir.glob("/proc/#{pid}/task/*/children").flat_map { |path| words_of(path) }
      [pid, *workers.flat_map { |worker| processes(Integer(worker)) }]
    end

    # The words in a file of /proc. None when its thread has ended in the meantime.
    def words_of(path)
      File.read(path).split
    rescue Errno::ENOENT, Errno::ESRCH
      []
    end

    # Seconds of processor time, of all threads.
    def processor
      processes.sum { |pid| File.read("/proc/#{pid}/stat")[/\) (.*)/, 1].split[11, 2].sum(&:to_i) }.fdiv(TICKS)
    end

    # The sum of each process's peak, in KB. Workers share a part of it.
    def memory = processes.sum { |pid| File.read("/proc/#{pid}/status")[/^VmHWM:\s+(\d+)/, 1].to_i }

    # The last lines of the server's standard error.
    def said = File.read(@errors.path).lines.last(5).join.strip
  end
end
