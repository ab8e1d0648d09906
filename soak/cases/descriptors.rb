# frozen_string_literal: true

require "tempfile"
require_relative "../case"
require_relative "../child"
require_relative "../../spec/support/seccomp"

# Sockets, pipes and listeners are born, and die in every way there is: reset, half closed, closed under a waiter,
# their numbers taken at once by others, inherited, their peer killed. A waiter must get the exception that the
# kernel means for it. Numbered streams beside them must not notice, and nothing may stay open.

Late = Class.new(StandardError)
Interrupted = Class.new(StandardError)

# Numbers that one fiber writes and another one expects in their order, until the time is over.
class Flow
  WORD = "J"
  SIZE = [0].pack(WORD).bytesize

  # @param slow [Boolean] whether the reader lets the buffers run full
  def initialize(soak, reader, writer, slow:)
    @soak = soak
    @reader = reader
    @writer = writer
    @slow = slow
    @sent = @received = 0
  end

  def write
    while @soak.more?
      count = @soak.random.rand(1..(@slow ? 20_000 : 500))
      @writer.write((@sent...(@sent + count)).to_a.pack("#{WORD}*"))
      @sent += count
      @soak.done
      sleep(@soak.random.rand * 0.002)
    end
    @writer.close
  end

  def read
    left = "".b
    while (bytes = @reader.readpartial(@slow ? 4096 : 65_536))
      left << bytes
      left.slice!(0, left.bytesize / SIZE * SIZE).unpack("#{WORD}*").each { |number| take(number) }
      @soak.done
      sleep(@soak.random.rand * 0.001) if @slow && @soak.more?
    end
  rescue EOFError
    @soak.expect(left.empty? && @received == @sent, "of #{@sent} numbers #{@received} and #{left.size} bytes came")
    @reader.close
  end

  private

  def take(number)
    @soak.violation("#{number} came where #{@received} was due") if number != @received
    @received = number + 1
  end
end

# A server for so many clients that has few descriptors. It prints its port, how often it had no descriptor left, and
# how many descriptors are open that were not open before.
SHORT_OF_DESCRIPTORS = <<~'RUBY'
  require "socket"
  require "uring_io"
  backend, clients, stream = ARGV
  Process.setrlimit(:NOFILE, 40)
  open = -> { Dir.children("/proc/self/fd").size }
  UringIO.run(backend: backend.to_sym) do
    ring = UringIO::Ring.new(backend: backend.to_sym)
    server = TCPServer.new("127.0.0.1", 0)
    before = open.call
    $stdout.puts(server.local_address.ip_port)
    $stdout.flush
    left = active = Integer(clients)
    serve = lambda do |peer|
      left -= 1
      Fiber.schedule do
        peer.write(peer.gets)
        peer.close
        active -= 1
      end
    end
    lacks = 0
    while left.positive?
      begin
        next serve.call(server.accept) unless stream == "true"

        ring.accept_each(server) do |number|
          serve.call(Socket.for_fd(number))
          break if left.zero?
        end
      rescue Errno::EMFILE
        lacks += 1
        sleep(0.005)
      end
    end
    sleep(0.001) until active.zero?
    puts "#{lacks} #{open.call - before}"
  end
RUBY

# A server on a machine that has no file left for it, and then has one again: see spec/uring_io/surroundings_spec.rb
# for why the kernel is made to say so. It says the same as the one above.
SHORT_OF_FILES = <<~RUBY.freeze
  require "socket"
  require "uring_io"
  backend, clients, = ARGV
  open = -> { Dir.children("/proc/self/fd").size }
  UringIO.run(backend: backend.to_sym) do
    server = TCPServer.new("127.0.0.1", 0)
    spared = server.dup
    #{Seccomp.denying_accept(Errno::ENFILE::Errno, 'server.fileno') unless Seccomp.missing}
    before = open.call
    $stdout.puts(server.local_address.ip_port)
    $stdout.flush
    lacks = active = 0
    Integer(clients).times do
      begin
        server.accept
      rescue Errno::ENFILE
        lacks += 1
      end
      peer = spared.accept
      active += 1
      Fiber.schedule do
        peer.write(peer.gets)
        peer.close
        active -= 1
      end
    end
    sleep(0.001) until active.zero?
    puts "\#{lacks} \#{open.call - before}"
  end
RUBY

Case.run do
  pairs = { unix: -> { UNIXSocket.pair }, tcp: lambda do
    server = TCPServer.new("127.0.0.1", 0)
    client = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
    [client, server.accept].tap { server.close }
  end }

  # The class of what the block raises, or nothing.
  raised = lambda do |&block|
    block.call
    nil
  rescue SystemCallError, IOError, Interrupted, UringIO::Error => error
    error.class
  end
  # The same from a fiber of its own: a queue that gets it.
  outcome = lambda do |&block|
    Thread::Queue.new.tap { |queue| Fiber.schedule { queue << raised.call(&block) } }
  end
  same = ->(what, found, *wanted) { expect(wanted.include?(found), "#{what}: #{found.inspect} came, not #{wanted}") }
  reset = lambda do |socket|
    socket.setsockopt(Socket::Option.linger(true, 0))
    socket.close
    fault
  end
  keep = lambda do |open, pair|
    open.concat(pair)
    pair
  end
  word = -> { [random.rand(1 << 60)].pack("J") }
  # More than any buffer takes.
  big = "x" * 4_000_000

  # Each gets a list for what is to be closed in the end.
  actions = {}
  actions[:reset_while_reading] = lambda do |open|
    storm = Array.new(random.rand(1..10)) { pairs[:tcp].call }
    open.concat(storm.flatten)
    outcomes = storm.map { |_, reader| outcome.call { nil while reader.readpartial(100) } }
    storm.each do |writer, _|
      writer.write("x" * random.rand(1..1000)) if random.rand(2).zero?
      reset.call(writer)
    end
    outcomes.each { |one| same.call("reading from who resets", one.pop, Errno::ECONNRESET) }
  end
  actions[:reset_while_writing] = lambda do |open|
    reader, writer = keep.call(open, pairs[:tcp].call)
    one = outcome.call { loop { writer.write(big) } }
    sleep(random.rand * 0.002)
    reset.call(reader)
    same.call("writing to who resets", one.pop, Errno::ECONNRESET, Errno::EPIPE)
  end
  actions[:half_closed] = lambda do |open|
    here, there = keep.call(open, pairs.values.sample(random:).call)
    question = word.call * random.rand(1..5000)
    answered = outcome.call { there.write(there.read.reverse) && there.close_write }
    asked = outcome.call { here.write(question) && here.close_write }
    same.call("answering who is half closed", here.read == question.reverse, true)
    [answered, asked].each { |one| same.call("half closed", one.pop, nil) }
    fault
  end
  actions[:no_reader] = lambda do |open|
    reader, writer = keep.call(open, IO.pipe)
    one = outcome.call { writer.write(big) }
    reader.readpartial(random.rand(1..100_000))
    reader.close
    fault
    same.call("writing to a pipe without reader", one.pop, Errno::EPIPE)
  end
  actions[:shut_down] = lambda do |open|
    here, = keep.call(open, pairs.values.sample(random:).call)
    one = outcome.call { here.readpartial(10) }
    here.shutdown(:RD)
    fault
    same.call("reading what is shut down", one.pop, EOFError)
  end
  # The waiter ends while somebody else has the number. The new owner must not notice: he gets his bytes before or after
  # that, and the waiter must not take them.
  actions[:closed_under_who_waits] = lambda do |open|
    here, peer = keep.call(open, pairs.values.sample(random:).call)
    waits = [-> { here.readpartial(10) }, -> { here.wait_readable }, -> { here.wait(IO::READABLE | IO::PRIORITY, nil) }]
    wait = waits.sample(random:)
    one = Thread::Queue.new
    waiter = Fiber.schedule { one << raised.call(&wait) }
    number = here.fileno
    here.close
    taker, other = keep.call(open, UNIXSocket.pair)
    taker, other = other, taker if other.fileno == number
    two = outcome.call { same.call("a number that was taken", taker.readpartial(100), "mine") } if random.rand(2).zero?
    fault if taker.fileno == number
    early = random.rand(2).zero?
    waiter.raise(Interrupted) if early && waiter.alive?
    two ||= outcome.call { same.call("a number that was taken", taker.readpartial(100), "mine") }
    sleep(0) if random.rand(2).zero?
    other.write("mine")
    same.call("who has the number", two.pop, nil)
    waiter.raise(Interrupted) if waiter.alive?
    same.call("closed under who waits", one.pop, Interrupted, IOError, Errno::EBADF)
    peer.close
  end
  actions[:dup] = lambda do |open|
    here, there = keep.call(open, pairs.values.sample(random:).call)
    twin = here.dup
    open << twin
    told = word.call
    one = outcome.call { same.call("a twin", twin.readpartial(100), told) }
    sleep(0) if random.rand(2).zero?
    here.close
    there.write(told)
    same.call("a twin", one.pop, nil)
    fault
  end
  actions[:forked] = lambda do |open|
    here, there = keep.call(open, UNIXSocket.pair)
    one = outcome.call { here.readpartial(10) }
    pid = fork { sleep }
    there.close
    sleep(random.rand * 0.002)
    expect(one.empty?, "the end came while a child had it open")
    Process.kill(:KILL, pid)
    fault
    same.call("the end by the death of a child", one.pop, EOFError)
    Process.wait(pid)
  end
  actions[:executed] = lambda do |open|
    reader, writer = keep.call(open, IO.pipe)
    one = outcome.call { same.call("a program's pipe", reader.read, "said\n") }
    pid = spawn("sleep 0.00#{random.rand(10)}; echo said", out: writer)
    writer.close
    Process.wait(pid)
    same.call("the end by the end of a program", one.pop, nil)
    fault
  end
  actions[:peer_killed] = lambda do |open|
    here, there = keep.call(open, pairs.values.sample(random:).call)
    pid = spawn("cat", in: there, out: there)
    there.close
    told = word.call
    here.write(told)
    same.call("a program", here.readpartial(100), told)
    one = outcome.call { random.rand(2).zero? ? here.readpartial(10) : loop { here.write(big) } }
    sleep(random.rand * 0.002)
    Process.kill(:KILL, pid)
    fault
    same.call("the death of a peer", one.pop, EOFError, Errno::EPIPE, Errno::ECONNRESET)
    Process.wait(pid)
  end
  short_server = lambda do |open, script, clients|
    program = IO.popen(Child.command(backend, clients, random.rand(2).zero?), "r+")
    open << program
    program.write(script)
    program.close_write
    port = Integer(program.gets)
    sockets = Array.new(clients) { TCPSocket.new("127.0.0.1", port).tap { |socket| open << socket } }
    outcomes = sockets.map do |socket|
      outcome.call do
        socket.puts(socket.fileno)
        same.call("a server without descriptors", socket.gets, "#{socket.fileno}\n")
      end
    end
    outcomes.each { |one| same.call("a server without descriptors", one.pop, nil) }
    lacks, left = program.gets.split.map { |text| Integer(text) }
    same.call("descriptors left in a server", left, 0)
    fault(lacks)
    lacks
  end
  actions[:few_descriptors] = ->(open) { short_server.call(open, SHORT_OF_DESCRIPTORS, 60) }
  actions[:few_files] = lambda do |open|
    next if Seccomp.missing

    clients = random.rand(1..20)
    same.call("refusals to accept", short_server.call(open, SHORT_OF_FILES, clients), clients)
  end
  ring = nil
  actions[:accept_each] = lambda do |open|
    server = TCPServer.new("127.0.0.1", 0)
    open << server
    told = Array.new(random.rand(1..20)) { word.call }
    told.each { |text| Fiber.schedule { TCPSocket.open("127.0.0.1", server.local_address.ip_port) { _1.write(text) } } }
    heard = []
    ring.accept_each(server) do |number|
      socket = Socket.for_fd(number)
      heard << socket.read
      socket.close
      break if heard.size == told.size
    end
    same.call("accept_each", heard.sort, told.sort)
    # One that nobody takes, and that is closed with the stream.
    Fiber.schedule do
      TCPSocket.open("127.0.0.1", server.local_address.ip_port) { |socket| raised.call { socket.read } }
      fault
    end
    raised.call do
      Timeout.timeout(random.rand * 0.002, Interrupted) { ring.accept_each(server) { |it| IO.for_fd(it).close } }
    end
  end
  actions[:recv_each] = lambda do |open|
    reader, writer = keep.call(open, pairs[:tcp].call)
    numbers = (0...random.rand(1..50_000)).to_a.pack("J*")
    ends = random.rand(2).zero?
    written = outcome.call do
      writer.write(numbers)
      ends ? writer.close : reset.call(writer)
    end
    heard = "".b
    error = raised.call { ring.recv_each(reader) { |bytes| heard << bytes } }
    same.call("recv_each", error, ends ? nil : Errno::ECONNRESET)
    same.call("recv_each got all that was sent", ends ? heard == numbers : numbers.start_with?(heard), true)
    same.call("writing to recv_each", written.pop, nil)
  end
  file = Tempfile.create("descriptors").tap { |it| it.write("0123456789") && it.close }
  actions[:broken_chain] = lambda do |open|
    here, there = keep.call(open, UNIXSocket.pair)
    broken = random.rand(4)
    there.close if broken == 2
    steps = lambda do |c|
      opened = c.open(broken.zero? ? "#{file.path}-missing" : file.path)
      c.send(here, c.read(opened, broken == 1 ? 11 : 10))
      c.close(opened)
    end
    same.call("a chain", raised.call { ring.chain(&steps) }, broken == 3 ? nil : UringIO::ChainError)
    same.call("what a chain sent", there.recv(100), "0123456789") if broken == 3
    index = begin
      ring.chain(&steps)
      nil
    rescue UringIO::ChainError => error
      error.step.index
    end
    same.call("where a chain broke", index, broken == 3 ? nil : broken)
    fault
  end
  actions[:batch] = lambda do |open|
    here, there = keep.call(open, UNIXSocket.pair)
    gone, = keep.call(open, UNIXSocket.pair).tap { |_, other| other.close }
    told = word.call
    there.write(told)
    opened, *rest = ring.batch do |b|
      b.open(file.path)
      b.open("#{file.path}-missing")
      b.recv(here, 100)
      b.recv(gone, 100)
      b.send(gone, told)
      b.close_descriptor(1 << 30)
    end
    ring.close_descriptor(opened)
    found = rest.map { |it| it.is_a?(Exception) ? it.class : it }
    same.call("a batch", found, [Errno::ENOENT, told, nil, Errno::EPIPE, Errno::EBADF])
    fault(3)
    error = raised.call do
      Timeout.timeout(random.rand * 0.003, Interrupted) do
        ring.batch do |b|
          10.times { b.open(file.path) }
          b.recv(here, 1)
        end
      end
    end
    same.call("a batch that is ended", error, Interrupted)
  end

  seldom = %i[forked executed peer_killed few_descriptors few_files]
  often = actions.keys - seldom

  act = lambda do |name|
    open = []
    Timeout.timeout(20, Late) { actions.fetch(name).call(open) }
    done
  rescue StandardError => error
    violation("#{name}: #{error.class}, #{error.message} at #{error.backtrace.first(3)}")
  ensure
    open.each(&:close)
  end

  scheduled { sleep(0.001) } # opens what Ruby keeps open
  before = descriptors
  begin
    scheduled do
      ring = UringIO::Ring.new(backend:)
      flows = Array.new(12) do |number|
        reader, writer = number % 3 == 2 ? IO.pipe : pairs.values[number % 3].call
        Flow.new(self, reader, writer, slow: number < 6)
      end
      works = flows.product(%i[read write]).map do |flow, job|
        outcome.call { flow.public_send(job) }
      end
      works += Array.new(6) { outcome.call { act.call(often.sample(random:)) while more? } }
      works << outcome.call do
        seldom.shuffle(random:).cycle do |name|
          break unless more?

          act.call(name)
        end
      end
      Timeout.timeout(seconds + 30, Late) { works.each { |work| same.call("a stream or an action", work.pop, nil) } }
      ring.close
    rescue Late
      violation("somebody waits for ever")
      raise SystemExit
    end
  rescue SystemExit
    nil
  end
  File.unlink(file.path)
  expect(descriptors == before, "#{descriptors - before} descriptors were left")
end
