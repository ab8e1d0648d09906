# frozen_string_literal: true

# A job worker on PostgreSQL, in one thread. It claims jobs from a table and performs each job in two fibers. A job is
# the URL of a stream of server-sent events, the way in which language models answer. One fiber reads the stream, and
# the worker can cancel it at any time. The other fiber writes each token to the job's row, over a few connections that
# all jobs share. Nobody cancels the writer: an interrupted query may leave its connection in a transaction.
#
#   ruby -Ilib examples/job_worker.rb --setup                    # makes the table
#   ruby -Ilib examples/job_worker.rb [--jobs N] [--connections N] [--tokens N] [--grace SECONDS]
#
# Needs the gems activerecord and pg. PGHOST, PGUSER, PGDATABASE and so on say where the database is.
#
#   INSERT INTO jobs (url) VALUES ('http://localhost:8080/stream');
#   UPDATE jobs SET cancel = 'raise' WHERE id = 1;               -- ends a job that is under way; so does 'kill'
#
# At SIGTERM or Ctrl-C the worker claims no new jobs. It cancels the running ones after the grace (10 s), or at a second
# signal.

require "json"
require "net/http"
require "optparse"
require "timeout"
require "active_record"
require "uring_io"

# Each fiber has a connection of its own while it needs one. In Rails: config.active_support.isolation_level = :fiber.
ActiveSupport::IsolatedExecutionState.isolation_level = :fiber

# The exception that ends the stream of a cancelled job.
Cancelled = Class.new(StandardError)

# A row of the table.
class Job < ActiveRecord::Base
  TABLE = <<~SQL
    CREATE TABLE jobs (id bigserial PRIMARY KEY, url text NOT NULL, seconds real, cancel text,
                       status text NOT NULL DEFAULT 'ready', text text NOT NULL DEFAULT '', error text)
  SQL
  # SKIP LOCKED: two workers never wait for each other here, and never get the same job.
  CLAIM = <<~SQL
    UPDATE jobs SET status = 'running' WHERE id = ANY (ARRAY(
      SELECT id FROM jobs WHERE status = 'ready' AND cancel IS NULL ORDER BY id LIMIT ? FOR UPDATE SKIP LOCKED))
    RETURNING *
  SQL

  def self.claim(number) = find_by_sql([CLAIM, number])

  def each_token
    each_event { |event| yield JSON.parse(event) unless event == "[DONE]\n\n" }
  end

  def write(tokens) = update!(text: text + tokens)

  private

  def each_event
    uri = URI(url)
    buffer = String.new # of bytes: a part may end within a character
    # By default Net::HTTP repeats the request when the stream breaks off, and we would write its beginning twice.
    Net::HTTP.start(uri.host, uri.port, max_retries: 0) do |http|
      http.request_get(uri.request_uri) do |response|
        response.value # raises unless it is a success
        response.read_body do |part|
          buffer << part
          while (event = buffer.slice!(/\A.*?\n\n/m))
            yield event.delete_prefix("data: ") if event.start_with?("data: ")
          end
        end
      end
    end
  end
end

# A running job: a reader and a writer with a queue between them. When the database is slower than the stream, the queue
# gets full and the reader stops reading. Then TCP makes the other end wait as well.
class Run
  # @param tokens [Integer] the size of the queue, and about the most tokens of one write
  def initialize(job, tokens)
    @job = job
    @tokens = Thread::SizedQueue.new(tokens)
    @outcome = "cancelled" # also when the reader is killed: only +ensure+ runs then
  end

  # Calls the block with the outcome when the job has ended.
  def start(&)
    @reader = Fiber.schedule { read }
    Fiber.schedule { write(&) }
  end

  def cancel(how = "raise")
    return if @cancelled || !@reader.alive?

    @cancelled = true
    how == "kill" ? @reader.kill : @reader.raise(Cancelled)
  end

  private

  def read
    Timeout.timeout(@job.seconds, Cancelled) { @job.each_token { |token| @tokens << token } }
    @outcome = "done"
  rescue Cancelled
    @outcome = "cancelled"
  rescue StandardError => error
    @outcome = "failed"
    @error = error
  ensure
    @tokens.close
  end

  def write
    while (tokens = @tokens.pop)
      tokens << @tokens.pop until @tokens.empty?
      @job.write(tokens) unless @refused
    end
    @outcome = "failed" if @refused
    @job.class.where(id: @job.id).update_all(status: @outcome, error: (@refused || @error)&.message)
  rescue ActiveRecord::ActiveRecordError => error
    raise if @refused

    @refused = error
    cancel
    retry # until the reader has ended
  ensure
    yield @outcome
  end
end

# Performs up to +jobs+ jobs at a time until somebody stops it.
class Worker
  POLL_SECONDS = 0.1

  attr_reader :outcomes

  def initialize(jobs, tokens, grace)
    @jobs = jobs
    @tokens = tokens
    @grace = grace
    @running = {}
    @events = Thread::Queue.new
    @outcomes = Hash.new(0)
  end

  # A trap handler may call this.
  def stop = @events << :stop

  def run
    until told_to_stop?(POLL_SECONDS)
      claim
      cancel_what_is_asked
    end
    puts "Stopping: #{@running.size} jobs are under way"
    $stdout.flush
    wait_for_jobs
    @running.each_value(&:cancel)
    @events.pop until @running.empty?
  end

  private

  # Waits for the next event, for so many seconds at most. It returns early when a job ends, because there is room for
  # another one then.
  def told_to_stop?(seconds) = @events.pop(timeout: seconds) == :stop

  def claim
    room = @jobs - @running.size
    Job.claim(room).each { |job| start(job) } if room.positive?
  end

  def start(job)
    run = @running[job.id] = Run.new(job, @tokens)
    run.start do |outcome|
      @outcomes[outcome] += 1
      @running.delete(job.id)
      @events << :ended
    end
  end

  def cancel_what_is_asked
    asked = Job.where(id: @running.keys).where.not(cancel: nil).pluck(:id, :cancel)
    asked.each { |id, how| @running[id]&.cancel(how) }
  end

  def wait_for_jobs
    deadline = now + @grace
    until @running.empty?
      left = deadline - now
      break if left.negative? || told_to_stop?(left)
    end
  end

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

Options = Struct.new(:jobs, :connections, :tokens, :grace, :backend, :setup)
options = Options.new(100, 5, 16, 10.0)
OptionParser.new do |parser|
  parser.on("--setup", "makes the table, and nothing else") { options.setup = true }
  parser.on("--jobs N", Integer, "most jobs at a time (default 100)") { |number| options.jobs = number }
  parser.on("--connections N", Integer, "to the database (default 5)") { |number| options.connections = number }
  parser.on("--tokens N", Integer, "of a job written at once (default 16)") { |number| options.tokens = number }
  parser.on("--grace SECONDS", Float, "for jobs under way at the end (default 10)") { |time| options.grace = time }
  parser.on("--backend NAME", "io_uring, epoll, poll or select") { |name| options.backend = name }
end.parse!

# All jobs share these connections. With many jobs, waiting for one takes longer than the default of 5 s.
ActiveRecord::Base.establish_connection(adapter: "postgresql", pool: options.connections, checkout_timeout: 60,
                                        reaping_frequency: nil)
begin
  if options.setup
    ActiveRecord::Base.with_connection { |connection| connection.execute(Job::TABLE) }
    exit
  end
  UringIO.run(backend: options.backend) do |scheduler|
    Job.load_schema
    worker = Worker.new(options.jobs, options.tokens, options.grace)
    %w[INT TERM].each { |signal| trap(signal) { worker.stop } }
    puts "Working on #{options.jobs} jobs at a time (#{scheduler.backend})"
    $stdout.flush
    worker.run
    puts "Stopped: #{worker.outcomes.map { |outcome, number| "#{number} #{outcome}" }.join(', ')}"
  end
rescue UringIO::UnsupportedError, ArgumentError, ActiveRecord::ActiveRecordError => error
  abort "job_worker: #{error.message}"
end
