# frozen_string_literal: true

# Uses everything that has a hook, in three threads and four children, while at times the garbage collector runs at
# every allocation. It goes on until Ctrl-C, which ends it and its children as at a terminal.
#
#   ruby -Ilib spec/programs/every_hook.rb BACKEND SECONDS
#
# The main thread is one of the three, because it gets the signals. Only its scheduler counts the calls of its hooks:
# the other two threads work as in any program. Each step of work checks its results to the last byte. The program
# prints:
#
#   ready                    when every step of every thread has been done
#   worked                   SECONDS later
#   thread 1: tcp 81 ...     after Ctrl-C: how often each step was done, for each of the three threads
#   hooks: fiber 920 ...     how often each hook was called
#   collections: 5120        how often the garbage collector ran in this process
#   child 1: 150 signal 2    how often a child waited for its own children, how it ended; for each of the four
#   never called: none       hooks that this Ruby has and that were not called
#   stuck: none              steps that were begun and did not end for long
#
# A step that fails reports that on standard error.

require "uring_io"
require "socket"
require "tempfile"
require "timeout"
require "zlib"
require_relative "../support/hooks"

BACKEND = ARGV.fetch(0).to_sym
SECONDS = Float(ARGV.fetch(1))

# A step that takes longer is stuck. An emulated machine needs longer than that while the collector runs all the time.
STUCK = [45, Integer(ENV.fetch("URING_IO_SPEC_LIMIT", 0))].max
# A failure so many seconds before Ctrl-C may come from that, and the program does not report it.
PATIENCE = 5

def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)

# Fails unless both are equal. Shortens long Strings in the message.
def same!(actual, expected, what)
  return if actual == expected

  raise "#{what}: #{actual.inspect[0, 200]} instead of #{expected.inspect[0, 200]}"
end

# The exception of this class that the block raises.
def raised!(expected)
  yield
rescue expected => error
  error
else
  raise "no #{expected}"
end

# Random bytes, often more than a pipe holds.
def bytes(most = 100_000) = Random.bytes(rand(1..most))

# Runs a step that Ctrl-C may disturb: Ctrl-C ends the children at the same time, maybe before this process gets it.
def patiently
  yield
rescue StandardError
  sleep(PATIENCE)
  raise
end

# Runs the block in a fiber beside the current step.
def beside(&) = Fiber.schedule { patiently(&) }

# The steps that the fibers of one thread repeat, with the number of their repetitions.
class Rounds
  PAUSE = 0.02

  attr_reader :counts

  def initialize
    @counts = {}
    @began = {}
  end

  # Repeats the block in a fiber.
  def repeat(step, &)
    @counts[step] = 0
    Fiber.schedule do
      loop do
        @began[step] = clock
        patiently(&)
        @counts[step] += 1
        sleep(PAUSE)
      end
    end
  end

  def all_done? = counts.values.all?(&:positive?)

  def stuck = @began.select { |_, time| clock - time > STUCK }.keys

  def to_s = counts.map { |step, count| "#{step} #{count}" }.join(" ")
end

# Extends a scheduler so that it counts the hooks that Ruby calls.
module CountedHooks
  COUNTS = Hooks::CALLED.to_h { |hook| [hook, 0] }

  Hooks::CALLED.each do |hook|
    define_method(hook) do |*arguments, **options, &block|
      COUNTS[hook] += 1 # without a Mutex: trap handlers call unblock
      super(*arguments, **options, &block)
    end
  end

  def self.never_called = COUNTS.select { |_, count| count.zero? }.keys

  def self.to_s = COUNTS.map { |hook, count| "#{hook} #{count}" }.join(" ")
end

# Makes the garbage collector run at every allocation of the process for a short time, then compacts the heap, and rests
# for a while. It runs in a thread without a scheduler, so that its turns are short whatever the fibers do.
class Collector
  STRESSED = 0.3

  def initialize(quiet)
    @thread = Thread.new do
      loop do
        sleep(quiet)
        GC.stress = true
        sleep(STRESSED)
        GC.stress = false
        GC.compact
      end
    end
  end

  def stop
    @thread.kill.join
    GC.stress = false
  end
end

PLAIN = bytes(30_000)
DEFLATED = Zlib::Deflate.deflate(PLAIN)

# The steps of each thread's work. The comment of a step lists the hooks that it uses, besides fiber and kernel_sleep.
class Work
  def initialize(children, inboxes, number)
    @children = children
    @inbox = inboxes[number]
    @next_inbox = inboxes[(number + 1) % inboxes.size]
    @mutex = Thread::Mutex.new
    @condition = Thread::ConditionVariable.new
    @taken = 0
  end

  # io_wait, io_read, io_write
  def tcp
    server = TCPServer.new("127.0.0.1", 0)
    beside do
      connection = server.accept
      connection.write(connection.read)
      connection.close
    end
    sent = bytes
    client = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
    client.write(sent)
    client.close_write
    same!(client.read, sent, "echo")
  ensure
    client&.close
    server&.close
  end

  # io_wait, io_read, io_write
  def pipe
    reader, writer = IO.pipe(binmode: true)
    sent = bytes
    beside do
      (0...sent.size).step(30_000) { |start| writer.write(sent[start, 30_000]) }
      writer.close
    end
    received = +""
    while (chunk = reader.readpartial(10_000))
      received << chunk
    end
  rescue EOFError
    same!(received, sent, "pipe")
  ensure
    reader&.close
  end

  # io_read, io_write, io_pread, io_pwrite
  def file
    Tempfile.create(binmode: true) do |file|
      written = bytes(50_000)
      file.write(written)
      file.flush
      offset = rand(written.size + 1)
      if RUBY_VERSION >= "4.0" # before, Ruby makes objects for the hook without the GVL, and crashes
        same!(file.pwrite("elsewhere", offset), 9, "pwrite")
        written[offset, 9] = "elsewhere"
      end
      same!(file.pread(9, offset), written[offset, 9], "pread") if offset < written.size
      file.rewind
      same!(file.read, written, "file")
    end
  end

  # io_select
  def select
    here, there = UNIXSocket.pair
    same!(IO.select([here, there], nil, nil, 0.001), nil, "select in vain")
    beside { there.write("x") }
    same!(IO.select([here, there], nil, nil, STUCK), [[here], [], []], "select for reading")
    same!(IO.select([here], [there], nil, STUCK), [[here], [there], []], "select for both")
  ensure
    here&.close
    there&.close
  end

  # block, unblock
  def queue
    queue = Thread::Queue.new
    same!(queue.pop(timeout: 0.001), nil, "pop in vain")
    beside { queue << :from_a_fiber }
    same!(queue.pop, :from_a_fiber, "pop")
    Thread.new { queue << :from_a_thread }
    same!(queue.pop(timeout: STUCK), :from_a_thread, "pop with a timeout")
  end

  # block, and unblock by another thread: the next thread answers.
  def ask
    number = rand(1_000_000)
    answers = Thread::Queue.new
    @next_inbox << [number, answers]
    same!(answers.pop, number + 1, "answer")
  end

  def answer
    number, answers = @inbox.pop
    answers << (number + 1)
  end

  # block, unblock. Two fibers take turns, and a last wait times out.
  def conditions
    turns = []
    beside do
      3.times { |number| take_turn(turns, (number * 2) + 1) }
    end
    3.times { |number| take_turn(turns, number * 2) }
    @mutex.synchronize { @condition.wait(@mutex, STUCK) until turns.size == 6 }
    same!(turns, [*0...6], "turns")
    @mutex.synchronize { @condition.wait(@mutex, 0.001) }
  end

  # kernel_sleep
  def sleeping
    start = clock
    sleep(0.003)
    raise "woke early" if clock - start < 0.003

    fiber = beside { raised!(KeyError) { sleep } && @taken += 1 }
    before = @taken
    fiber.raise(KeyError)
    sleep(0.001) while fiber.alive?
    same!(@taken, before + 1, "Fiber#raise")
  end

  # timeout_after
  def timeouts
    reader, writer = IO.pipe
    raised!(Timeout::Error) { Timeout.timeout(0.003) { reader.read(1) } }
    raised!(IOError) { Timeout.timeout(STUCK) { Timeout.timeout(0.001, IOError) { sleep } } }
    writer.write("in time")
    same!(Timeout.timeout(STUCK) { reader.read(7) }, "in time", "read")
  ensure
    reader&.close
    writer&.close
  end

  # process_wait, io_read. It waits for any child only within a group, because other threads have children, too.
  def processes
    status = rand(256)
    system("exit #{status}")
    same!($?.exitstatus, status, "system")
    same!(`echo #{status}`, "#{status}\n", "backticks")
    first = spawn("true", pgroup: true)
    same!(Process.wait(-first), first, "wait for a group")
    sleep(0.1)
  end

  # address_resolve
  def names
    same!(Addrinfo.tcp("localhost", 80).ip_port, 80, "port")
    same!(Addrinfo.getaddrinfo("localhost", nil, :INET, :STREAM).map(&:ip_address).uniq, ["127.0.0.1"], "localhost")
  end

  # blocking_operation_wait, where the scheduler has it. Zlib only inflates here: while it deflates, its ensure raises
  # DataError, which would hide Ctrl-C or Thread#kill.
  def blocking
    same!(Zlib::Inflate.inflate(DEFLATED), PLAIN, "Zlib")
    reader, writer = IO.pipe
    beside do
      IO.copy_stream(__FILE__, writer)
      writer.close
    end
    same!(reader.read, File.read(__FILE__), "copy")
  ensure
    reader&.close
  end

  # fiber_interrupt, io_close, and kernel_sleep in close
  def closing
    ios = [*UNIXSocket.pair, *IO.pipe]
    readers = ios.values_at(0, 2)
    ended = Thread::Queue.new
    readers.each do |reader|
      beside { ended << raised!(IOError) { reader.read(1) }.message }
    end
    readers.each(&:close)
    2.times { same!(ended.pop, "stream closed in another thread", "close") }
  ensure
    ios&.each(&:close)
  end

  # Hooks in an Enumerator's fiber, which the scheduler has not started.
  def enumerator
    reader, writer = IO.pipe
    lines = reader.each_line(chomp: true)
    beside do
      3.times { |number| writer.puts(number) && sleep(0.001) }
      writer.close
    end
    3.times { |number| same!(lines.next, number.to_s, "line") }
    raised!(StopIteration) { lines.next }
  ensure
    reader&.close
  end

  # block; and, in a thread of its own, everything from set_scheduler to scheduler_close
  def threads
    thread = Thread.new { UringIO.run(backend: BACKEND) { Fiber.schedule { sleep(0.005) } && :value } }
    thread.join(0.001)
    same!(thread.value, :value, "Thread#value")
  end

  # unblock by a trap handler; and yield, which Ruby calls when a signal comes while the whole thread waits, here for a
  # file lock. Only the main thread gets signals.
  def signals
    Process.kill(:USR1, Process.pid)
    same!(SIGNALS.pop, :usr1, "signal")
    Tempfile.create do |file|
      holder = File.open(file)
      holder.flock(File::LOCK_EX)
      Thread.new do
        sleep(0.002)
        Process.kill(:USR1, Process.pid)
        holder.close
      end
      same!(file.flock(File::LOCK_EX), 0, "flock")
    end
    same!(SIGNALS.pop, :usr1, "signal during flock")
  end

  # Asks each child for an answer, which includes how often the child has waited for its own children.
  def children
    @children.each do |child|
      text = bytes(20_000).unpack1("H*")
      connection = TCPSocket.new("127.0.0.1", child.port)
      connection.puts(text)
      answer, waits = connection.gets.split
      same!(answer, text.reverse, "child's answer")
      child.waits = Integer(waits)
    ensure
      connection&.close
    end
  end

  def steps
    all = %i[tcp pipe file select queue ask answer conditions sleeping timeouts processes names blocking enumerator
             threads children]
    all << :closing if RUBY_VERSION >= "4.0" # before 4.0, a close does not end reads
    all << :signals if Thread.current == Thread.main
    all
  end

  private

  def take_turn(turns, number)
    @mutex.synchronize do
      @condition.wait(@mutex, STUCK) until turns.size == number
      turns << number
      @condition.broadcast
    end
  end
end

# A forked process with a scheduler of its own. It answers its clients, and waits for children of its own.
class Child
  attr_reader :port
  attr_accessor :waits

  def initialize
    server = TCPServer.new("127.0.0.1", 0)
    @port = server.local_address.ip_port
    @waits = 0
    @pid = fork { run(server) }
    server.close
  end

  # Waits for the end of the process, and returns a report.
  def end
    status = Process.wait2(@pid).last
    "#{waits} #{status.signaled? ? "signal #{status.termsig}" : "status #{status.exitstatus}"}"
  end

  private

  def run(server)
    rounds = Rounds.new
    UringIO.run(backend: BACKEND) do
      Collector.new(3) # seldom, to leave enough of the machine to the parent
      rounds.repeat(:waits) { wait_for_any }
      loop do
        connection = server.accept
        beside { answer(connection, rounds) }
      end
    end
  rescue Interrupt
    raise SignalException, "INT" # ends the process as Interrupt does, without a backtrace
  end

  def wait_for_any
    started = Array.new(2) { spawn("true") }
    same!(Array.new(2) { Process.wait }.sort, started.sort, "children")
    sleep(0.5)
  end

  def answer(connection, rounds)
    connection.puts("#{connection.gets.chomp.reverse} #{rounds.counts[:waits]}")
  ensure
    connection.close
  end
end

$stdout.sync = true
SIGNALS = Thread::Queue.new
trap("USR1") { SIGNALS << :usr1 }

children = Array.new(4) { Child.new }
inboxes = Array.new(3) { Thread::Queue.new }
all_rounds = Array.new(3) { Rounds.new }
begun = Thread::Queue.new

begin_work = lambda do |number|
  work = Work.new(children, inboxes, number)
  work.steps.each { |step| all_rounds[number].repeat(step) { work.public_send(step) } }
  begun << number
end

begin
  threads = [1, 2].map do |number|
    Thread.new do
      UringIO.run(backend: BACKEND) { begin_work.call(number) }
    end
  end
  UringIO.run(backend: BACKEND, workers: 4) do |scheduler|
    scheduler.extend(CountedHooks)
    begin_work.call(0)
    3.times { begun.pop }
    sleep(0.01) until all_rounds.all?(&:all_done?)
    puts "ready"
    collector = Collector.new(0.7)
    sleep(SECONDS)
    puts "worked"
    sleep
  ensure
    collector&.stop
  end
rescue Interrupt
  stuck = all_rounds.flat_map(&:stuck)
  threads.each(&:kill).each(&:join)
  all_rounds.each_with_index { |rounds, index| puts "thread #{index + 1}: #{rounds}" }
  puts "hooks: #{CountedHooks}"
  puts "collections: #{GC.count}"
  children.each_with_index { |child, index| puts "child #{index + 1}: #{child.end}" }
  puts "never called: #{CountedHooks.never_called.join(' ').then { |names| names.empty? ? 'none' : names }}"
  puts "stuck: #{stuck.empty? ? 'none' : stuck.join(' ')}"
  raise SignalException, "INT" # ends the process as Interrupt does, without a backtrace
end
