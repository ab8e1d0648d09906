# frozen_string_literal: true

require_relative "../case"
require_relative "../child"
require_relative "../../spec/support/seccomp"

# The kernel refuses io_uring, or parts of it, or what every backend needs. Each program is run in a process of its own,
# does a little of everything on the backend that it gets without asking, and asks for this case's backend over and
# over: where that cannot be had it is UnsupportedError with the cause, and nothing is left open.

# Where there is time, and where there is not.
ATTEMPTS = [1_000, 100].freeze

# Lines that take io_uring away, and what the error must say of it: nil when it may work all the same.
REFUSED = [Errno::EPERM, Errno::ENOSYS].product([425..425, 426..426, 427..427, Seccomp::CALLS]).map do |error, calls|
  [Seccomp.denying_io_uring(error::Errno, calls), /seccomp filter/]
end.freeze

# A kernel charges no ring to the limit of locked memory from 5.12 on.
UNLOCKED = [<<~RUBY, nil].freeze
  Process.setrlimit(:MEMLOCK, 0, 0)
  if Process.euid.zero?
    Process.groups = [65_534]
    Process::Sys.setgid(65_534)
    Process::Sys.setuid(65_534)
  end
RUBY

# The work of every program after its refusal.
PROGRAM = <<~'RUBY'
  require "socket"
  require "tempfile"
  backend, attempts, seed = ARGV
  random = Random.new(Integer(seed))
  open = -> { Dir.children("/proc/self/fd").size }
  expect = ->(it, text) { it or puts "violation: #{text}" }

  work = lambda do |name|
    server = TCPServer.new("127.0.0.1", 0)
    echo = Fiber.schedule { server.accept.then { |peer| peer.write(peer.gets) && peer.close } }
    client = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
    number = random.rand(1_000_000).to_s
    client.puts(number)
    expect.(client.gets.chomp == number, "a socket gave something else on #{name}")
    reader, writer = IO.pipe
    Fiber.schedule { writer.write("x" * 200_000) && writer.close }
    expect.(reader.read.size == 200_000, "a pipe lost something on #{name}")
    sleep(0.001)
    queue = Thread::Queue.new
    Thread.new { queue << number }
    expect.(queue.pop == number, "a queue gave something else on #{name}")
    Tempfile.create("refusals") do |file|
      file.write(number)
      file.flush
      expect.(File.read(file.path) == number, "a file has something else on #{name}")
      ring = UringIO::Ring.new(backend: name)
      expect.(ring.stat(file.path).size == number.size, "a file has another size on #{name}")
      steps = ring.chain { |c| c.open(file.path).then { |opened| c.read(opened, number.size) && c.close(opened) } }
      expect.(steps == [0, number, nil], "a chain came to #{steps} on #{name}")
      expect.(ring.batch! { |b| 20.times { b.stat(file.path) } }.size == 20, "a batch lost something on #{name}")
      ring.close
    end
    expect.(`echo #{number}`.chomp == number, "a program said something else on #{name}")
    [server, client, reader].each(&:close)
  end

  before = open.call
  default = UringIO.run do |scheduler|
    work.call(scheduler.backend)
    scheduler.backend
  end
  expect.(default == UringIO.support.best, "a program gets #{default}, and UringIO.support says #{UringIO.support.best}")
  puts "default: #{default}"
  makers = [->(name) { UringIO::Scheduler.new(backend: name) }, ->(name) { UringIO::Ring.new(backend: name) },
            ->(name) { UringIO::Selector.new(Fiber.current, backend: name) }]
  # A polling thread takes its time to end.
  polled = backend == "io_uring" ? 20 : 0
  refused = Hash.new(0)
  (Integer(attempts) + polled).times do |number|
    next UringIO::Ring.new(sqpoll: true).close if number < polled

    makers[number % makers.size].call(backend.to_sym).close
  rescue UringIO::UnsupportedError => error
    refused[error.message] += 1
  end
  puts "had: #{Integer(attempts) + polled - refused.values.sum}"
  refused.each { |message, count| puts "refused: #{count} #{message}" }
  UringIO.run(backend: backend.to_sym) { |scheduler| work.call(scheduler.backend) } if refused.empty?
  GC.start
  expect.(open.call <= before, "#{open.call - before} descriptors were left by attempts")
RUBY

# With few descriptors: nothing may be left behind by what fails for want of the third or fifth.
SHORT = <<~'RUBY'
  backend, attempts, seed = ARGV
  limit = Random.new(Integer(seed)).rand(16..64)
  UringIO.support
  Process.setrlimit(:NOFILE, limit)
  makers = [-> { UringIO::Scheduler.new }, -> { UringIO::Scheduler.new(backend: backend.to_sym) },
            -> { UringIO::Ring.new(backend: backend.to_sym) },
            -> { UringIO::Selector.new(Fiber.current, backend: backend.to_sym) }]
  refused = 0
  Integer(attempts).times do |number|
    hoard = []
    begin
      loop { hoard << File.open(File::NULL) }
    rescue Errno::EMFILE
      hoard.pop(number % 7).each(&:close)
    end
    before = hoard.size
    begin
      makers[(number / 7) % makers.size].call.close
    rescue UringIO::UnsupportedError, Errno::EMFILE => error
      refused += 1
      error.message.match?(/descriptors|open files/i) or puts "violation: it does not say what lacks: #{error.message}"
    end
    begin
      loop { hoard << File.open(File::NULL) }
    rescue Errno::EMFILE
      left = before + (number % 7) - hoard.size
      puts "violation: attempt #{number} left #{left} descriptors of #{number % 7} that were free" if left != 0
    end
    hoard.each(&:close)
  end
  puts "refused: #{refused} for want of descriptors"
  UringIO.run { |scheduler| puts "default: #{scheduler.backend}" if sleep(0) }
RUBY

Case.run do
  # Runs a program and counts; what it says.
  said = lambda do |script, name, attempts|
    ended = Child.run(script, backend, attempts, random.rand(1_000_000))
    expect(ended.trouble.nil?, "#{name}: #{ended.trouble}")
    lines = ended.output.lines(chomp: true)
    lines.grep(/\Aviolation: /) { |line| violation("#{name}: #{line.delete_prefix('violation: ')}") }
    done(attempts)
    fault(lines.sum { |line| line[/\Arefused: (\d+)/, 1].to_i })
    lines
  end

  refusal = lambda do |(before, cause), name|
    lines = said.call("#{before}require \"uring_io\"\n#{PROGRAM}", name, more? ? ATTEMPTS.first : ATTEMPTS.last)
    lines.grep(/\Arefused: /) do |line|
      expect(backend == :io_uring && line.match?(cause || /locked memory|RLIMIT_MEMLOCK/), "#{name}: #{line}")
    end
    next unless cause

    expect(lines.include?("default: epoll"), "#{name}: a program that asks for nothing got #{lines.first}")
    expect(backend == :epoll || lines.include?("had: 0"), "#{name}: it had a ring after all")
  end

  refusals = Seccomp.missing ? [] : REFUSED.each_with_index.map { |them, index| [them, "seccomp filter #{index}"] }
  refusals << [UNLOCKED, "RLIMIT_MEMLOCK of 0"]
  programs = refusals.map { |them, name| -> { refusal.call(them, name) } }
  programs << -> { said.call("require \"uring_io\"\n#{SHORT}", "few descriptors", 200) }
  # All of them, however short the time.
  programs.shuffle(random:).each(&:call)
  programs.sample(random:).call while more?
end
