# frozen_string_literal: true

# Limits the time of an example. An example that hangs fails with the backtraces of all threads and fibers. When it
# cannot even be interrupted, the watchdog prints them and ends the run. Native code may keep all Ruby threads from
# running. For that case a shell outside expects a line at the beginning of each example, and otherwise sends SIGABRT,
# which makes Ruby print where it was.
class Watchdog
  USUAL = 20
  LIMIT = Integer(ENV.fetch("URING_IO_SPEC_LIMIT", USUAL))
  # On a slow machine LIMIT is longer, and all other limits grow in proportion.
  SLOWNESS = [1, LIMIT.fdiv(USUAL)].max
  GRACE = 10

  # The shell at the other end of a pipe.
  class Outside
    SCRIPT = <<~BASH
      limit=60
      while true; do
        if IFS= read -r -t "$limit" line; then
          limit=${line%% *} title=${line#* }
        elif (( $? > 128 )); then
          echo "no end of: $title" >&2
          kill -ABRT "$1"; sleep 10; kill -KILL "$1"
          exit
        else
          exit
        fi
      done
    BASH

    attr_reader :pid

    def initialize
      reader, @writer = IO.pipe
      @pid = Process.spawn("bash", "-c", SCRIPT, "watchdog", Process.pid.to_s, in: reader, out: File::NULL)
      reader.close
    end

    def expect_end_within(seconds, title)
      @writer.syswrite("#{seconds} #{title.tr("\n", ' ')}\n")
    end

    def stop
      @writer.close
      Process.wait(@pid)
    end
  end

  class << self
    attr_accessor :outside
  end

  # Not a StandardError, so that an example's rescue cannot hide it.
  class Expired < Exception; end # rubocop:disable Lint/InheritException

  # A limit that an example sets itself, extended for a slow machine.
  def self.patience(seconds)
    seconds * SLOWNESS
  end

  def self.watch(title, limit)
    watchdog = new(title, limit, Thread.current)
    yield
  ensure
    watchdog.stop
  end

  def initialize(title, limit, watched)
    @stopped = Thread::Queue.new
    @thread = Thread.new do
      Thread.current.name = "watchdog"
      @stopped.pop(timeout: limit)
      next if @stopped.closed?

      watched.raise(Expired, "#{title} took more than #{limit} seconds\n#{Watchdog.backtraces}")
      @stopped.pop(timeout: GRACE)
      next if @stopped.closed?

      give_up(title)
    end
  end

  def stop
    @stopped.close
    @thread.join
  end

  def self.backtraces
    threads = Thread.list.reject { |thread| thread.name == "watchdog" }
    fibers = ObjectSpace.each_object(Fiber).select(&:alive?)
    (threads + fibers).map do |runner|
      lines = begin
        runner.backtrace
      rescue StandardError => error
        [error.message]
      end
      lines = Array(lines).reject { |line| line.include?("/rspec-core") }
      "#{runner.inspect}\n  #{lines.first(20).join("\n  ")}"
    end.join("\n")
  end

  private

  def give_up(title)
    # $stderr belongs to the example.
    STDERR.write("#{title} cannot be interrupted:\n#{Watchdog.backtraces}\n") # rubocop:disable Style/GlobalStdStream
    exit!(70)
  end
end

# For time limits of waits within an example.
module Patience
  def patience(seconds)
    Watchdog.patience(seconds)
  end
end

RSpec.configure do |config|
  config.include Patience
  config.before(:suite) { Watchdog.outside = Watchdog::Outside.new }
  config.after(:suite) { Watchdog.outside.stop }

  # An example sets a longer limit with: it "...", limit: seconds.
  config.around do |example|
    own = example.metadata[:limit]
    limit = own ? Watchdog.patience(own) : Watchdog::LIMIT
    Watchdog.outside.expect_end_within((limit + (2 * Watchdog::GRACE)).ceil, example.full_description)
    Watchdog.watch(example.full_description, limit) { example.run }
  end
end
