# frozen_string_literal: true

require "io/nonblock"
require "pty"
require "io/console"

# Before Ruby frees the descriptor or the buffer of an IO, the close ends all operations on it and waits for their end.
# Fibers that waited get IOError.
RSpec.describe "An IO that is closed while somebody waits on it" do
  # The outcomes of the waiters and of the closer, in order. A fiber is parked when Fiber.schedule returns.
  def closed_under(ours, *waits, by: :itself, way: :close.to_proc)
    log = []
    waits.each { |wait| Fiber.schedule { log << outcome_of { wait.call(ours) } } }
    expect(log).to be_empty
    yield if block_given?
    work = lambda do
      way.call(ours)
      log << :closed
    end
    case by
    when :itself then work.call
    when :fiber then Fiber.schedule { work.call }
    when :thread then Thread.new(&work).join
    end
    eventually { log.size > waits.size }
    log
  end

  # A closing thread may report its outcome later, but not earlier.
  def be_in_order(by, *found) = by == :thread ? contain_exactly(*found) : match(found)

  def outcome_of
    yield
  rescue StandardError => error
    error
  end

  def be_an_ended_wait
    be_an_instance_of(IOError).and have_attributes(message: /closed/)
  end

  # Strings of the size of an IO's read buffer, which take its place in memory once Ruby has freed it.
  def canaries = Array.new(100) { "v" * 8191 }

  def filled_pair = unix_pair.tap { |ours, _| fill(ours) }

  def filled_pipe = pipe.reverse.tap { |ours, _| fill(ours) }

  def blocking_pipe = pipe.each { |io| io.nonblock = false }

  def terminal
    master, terminal = PTY.open.each { |io| closing(io) }
    [terminal.tap(&:raw!), master]
  end

  def fifo
    File.mkfifo(path = free_path("fifo"))
    [closing(File.open(path, File::RDONLY | File::NONBLOCK)), closing(File.open(path, File::WRONLY))]
  end

  # A socket, and the address of a server whose backlog is full.
  def unanswered
    server = closing(Socket.new(:INET, :STREAM))
    server.bind(Addrinfo.tcp("127.0.0.1", 0))
    server.listen(0)
    3.times { closing(Socket.new(:INET, :STREAM)).connect_nonblock(server.local_address, exception: false) }
    [closing(Socket.new(:INET, :STREAM)), server.local_address]
  end

  # A pair of which one IO gets the number. That one comes first.
  def taking(number)
    pair = unix_pair
    pair = unix_pair until pair.any? { |io| io.fileno == number }
    pair.partition { |io| io.fileno == number }.flatten
  end

  # rubocop:disable Lint/IncompatibleIoSelectWithFiberScheduler
  reads = {
    gets: ->(io) { io.gets }, each_line: ->(io) { io.each_line { nil } }, readline: ->(io) { io.readline },
    getc: ->(io) { io.getc }, getbyte: ->(io) { io.getbyte }, each_char: ->(io) { io.each_char { nil } },
    eof?: ->(io) { io.eof? }, read: ->(io) { io.read(10) }, "read to the end": ->(io) { io.read },
    readpartial: ->(io) { io.readpartial(10) }, sysread: ->(io) { io.sysread(10) },
    wait_readable: ->(io) { io.wait_readable }, "IO.select": ->(io) { IO.select([io]) }
  }
  # rubocop:enable Lint/IncompatibleIoSelectWithFiberScheduler
  others = {
    "wait_writable on a full pipe": [:filled_pipe, lambda(&:wait_writable)],
    "write to a full pipe": [:filled_pipe, ->(io) { io.write("more") }],
    "write to a full socket": [:filled_pair, ->(io) { io.write("more") }],
    "send to a full socket": [:filled_pair, ->(io) { io.send("more", 0) }],
    recv: [:unix_pair, ->(io) { io.recv(10) }],
    recvmsg: [:unix_pair, lambda(&:recvmsg)],
    accept: [:tcp_server, lambda(&:accept)],
    "connect that nobody answers": [:unanswered, ->(io, address) { io.connect(address) }],
    "IO.copy_stream": [:pipe, ->(io) { IO.copy_stream(io, File::NULL) }],
    "IO::Buffer#read": [:unix_pair, ->(io) { IO::Buffer.new(10).read(io, 1) }]
  }
  ring_calls = {
    read: [:pipe, ->(io, ring) { ring.read(io, 10) }],
    recv: [:unix_pair, ->(io, ring) { ring.recv(io, 10) }],
    send: [:filled_pair, ->(io, ring) { ring.send(io, "more") }],
    accept: [:tcp_server, ->(io, ring) { ring.accept(io) }],
    poll: [:pipe, ->(io, ring) { ring.poll(io, IO::READABLE) }],
    batch!: [:unix_pair, ->(io, ring) { ring.batch! { |b| b.recv(io, 10) && b.nop } }],
    recv_each: [:unix_pair, ->(io, ring) { ring.recv_each(io) { nil } }],
    read_each: [:pipe, ->(io, ring) { ring.read_each(io) { nil } }],
    accept_each: [:tcp_server, ->(io, ring) { ring.accept_each(io) { nil } }],
    poll_each: [:pipe, ->(io, ring) { ring.poll_each(io, IO::READABLE) { nil } }],
    "recv of a number": [:unix_pair, ->(io, ring) { ring.recv(io.fileno, 10) }],
    "poll of a number": [:pipe, ->(io, ring) { ring.poll(io.fileno, IO::READABLE) }]
  }
  closers = %i[itself fiber thread]

  each_backend do |_backend|
    reads.each do |name, wait|
      %i[unix_pair tcp_pair pipe blocking_pipe fifo terminal].each do |place|
        it "raises IOError in #{name} on a #{place}, before close returns" do
          scheduled do
            closers.each do |by|
              ours, = public_send(place)
              log = closed_under(ours, wait, by:)
              expect(log).to be_in_order(by, be_an_ended_wait, :closed)
            end
          end
        end
      end
    end

    others.each do |name, (place, wait)|
      it "raises IOError in #{name}, before close returns" do
        scheduled do
          closers.each do |by|
            ours, address = public_send(place)
            log = closed_under(ours, ->(io) { wait.arity == 2 ? wait.call(io, address) : wait.call(io) }, by:)
            expect(log).to be_in_order(by, be_an_ended_wait, :closed)
          end
        end
      end
    end

    ring_calls.each do |name, (place, call)|
      it "raises IOError in #{name} of a ring" do
        scheduled do
          with_ring do |ring|
            closers.product([true, false]).each do |by, at_once|
              ours, = public_send(place)
              # Some calls check the descriptor first.
              log = closed_under(ours, ->(io) { call.call(io, ring) }, by:) { let_others_run unless at_once }
              expect(log).to contain_exactly(be_an_ended_wait, :closed)
            end
          end
        end
      end
    end

    it "breaks a chain with IOError as the cause" do
      scheduled do
        with_ring do |ring|
          ours, = unix_pair
          log = closed_under(ours, ->(io) { ring.chain { |c| c.recv(io, 10) && c.nop } })
          error = (log - [:closed]).first
          expect(error.is_a?(UringIO::ChainError) ? error.cause : error).to be_an_ended_wait
        end
      end
    end

    it "ends a ring's read_each before the ring could read the next file with its number" do
      scheduled do
        with_ring do |ring|
          ours, = unix_pair
          number = ours.fileno
          got = []
          Fiber.schedule { got << outcome_of { ring.read_each(ours) { |bytes| got << bytes } } }
          ours.close
          taker, peer = taking(number)
          peer.write("mine")
          let_others_run
          eventually { got.any? }
          expect(got).to match([be_an_ended_wait])
          expect(taker.readpartial(10)).to eq("mine")
        end
      end
    end

    it "ends a splice from a pipe without O_NONBLOCK" do
      scheduled do
        with_ring do |ring|
          ours, = blocking_pipe
          _, sink = blocking_pipe
          # On the other backends a worker is in splice(2) by then.
          log = closed_under(ours, ->(io) { ring.splice(io, sink, 10) }) { sleep(0.005) }
          expect(log).to match([be_an_ended_wait, :closed])
        end
      end
    end

    it "ends all waits on it, and no others" do
      scheduled do
        ours, peer = unix_pair
        twin = closing(ours.dup)
        others = []
        Fiber.schedule { others << twin.gets }
        log = closed_under(ours, reads[:gets], reads[:wait_readable], reads[:"IO.select"])
        expect(log).to match([*[be_an_ended_wait] * 3, :closed])
        expect(others).to be_empty
        peer.write("for the twin\n")
        eventually { others.any? }
        expect(others).to eq(["for the twin\n"])
      end
    end

    %i[unix_pair pipe].each do |place|
      closers.each do |by|
        it "writes nothing into its freed read buffer, for a #{place} closed by #{by}" do
          scheduled do
            %i[gets getc each_line readline].each do |name|
              ours, peer = public_send(place)
              closed_under(ours, reads.fetch(name), by:)
              strings = canaries
              expect { peer.write("A" * 8000) }.to raise_error(Errno::EPIPE)
              let_others_run
              expect(strings).to all(eq("v" * 8191))
            end
          end
        end
      end
    end

    closers.each do |by|
      it "leaves new data to the next IO with its number, closed by #{by}" do
        scheduled do
          ours, = unix_pair
          number = ours.fileno
          log = closed_under(ours, reads[:gets], by:)
          expect(log.first).to be_an_ended_wait
          taker, peer = taking(number)
          strings = canaries
          lines = []
          Fiber.schedule { 2.times { lines << taker.gets } }
          peer.write(first = "#{'A' * 8000}\n")
          eventually { lines.size == 1 }
          peer.write("second\n")
          eventually { lines.size == 2 }
          expect(lines).to eq([first, "second\n"])
          expect(strings).to all(eq("v" * 8191))
        end
      end
    end

    it "of a file reads nothing into freed memory, and nothing from the next file" do
      contents = %w[A B].to_h { |name| [name, file_with(name * 2_000_000)] }
      contents.each_value { |path| File.open(path, &:fsync) }
      outcomes = []
      strings = []
      scheduled do
        100.times do |index|
          file = File.open(contents["A"])
          file.advise(:dontneed)
          file.seek(index * 16_384)
          Fiber.schedule { outcomes << outcome_of { file.getc } }
          index.even? ? file.close : Thread.new { file.close }.join
          File.open(contents["B"]) { strings.concat(canaries.first(10)) }
        end
        eventually { outcomes.size == 100 }
      end
      expect(outcomes).to all(eq("A").or(be_an_ended_wait))
      expect(strings).to all(eq("v" * 8191))
    end

    keepers = { "a copy" => ->(io) { io.dup }, "a forked child" => ->(_) { fork { Fiber.blocking { sleep } } } }
    keepers.each do |who, keep|
      it "reports no event of a file that #{who} keeps open to the next IO with its number, after a timed-out wait" do
        scheduled do
          ours, peer = unix_pair
          kept = keep.call(ours)
          expect(ours.wait_readable(0.001)).to be_nil
          number = ours.fileno
          ours.close
          taker, other = taking(number)
          peer.write("for who keeps the file")
          expect(taker.wait_readable(0.01)).to be_nil
          other.write("mine")
          expect(taker.readpartial(10)).to eq("mine")
        ensure
          kept.is_a?(IO) ? kept.close : Process.kill(:KILL, kept) && Process.wait(kept)
        end
      end
    end

    it "completes no connect of a new socket with its number by an event of its file" do
      outcome = nil
      scheduled do
        _, address = unanswered
        ours, peer = unix_pair
        kept = closing(ours.dup)
        ours.wait_readable(0.001)
        ours.close
        client = closing(Socket.new(:INET, :STREAM))
        Fiber.schedule { outcome = outcome_of { client.connect(address) } }
        kept && peer.write("x")
        sleep(0.01)
        expect(outcome).to be_nil
        client.close
      end
      expect(outcome).to be_an_ended_wait
    end

    { "another IO" => ->(io, other, _) { io.reopen(other) }, "a path" => ->(io, _, path) { io.reopen(path) } }
      .each do |what, reopen|
      %i[gets readpartial read wait_readable].each do |name|
        it "raises IOError in #{name} when it is reopened as #{what}, and then reads from the new file" do
          path = file_with("new\n")
          scheduled do
            closers.each do |by|
              ours, peer = pipe
              other, writer = pipe
              writer.write("new\n")
              log = closed_under(ours, reads.fetch(name), by:, way: ->(io) { reopen.call(io, other, path) })
              expect(log).to be_in_order(by, be_an_ended_wait, :closed)
              expect { peer.write("late") }.to raise_error(Errno::EPIPE)
              expect(ours.gets).to eq("new\n")
            end
          end
        end
      end
    end

    it "ends a read when its reading half is closed, but not when its writing half is" do
      scheduled do
        { close_read: nil, close_write: "line\n" }.each do |half, line|
          ours, peer = unix_pair
          log = []
          Fiber.schedule { log << outcome_of { ours.gets } }
          ours.public_send(half)
          peer.write("line\n") if line
          eventually { log.size == 1 }
          expect(log).to match([line ? eq(line) : be_nil.or(be_an_ended_wait)])
        end
      end
    end

    { close: IOError, close_read: IOError, close_write: nil }.each do |how, error|
      it "of IO.popen for both directions ends a read by #{how}, with #{error || 'the end of the program'}" do
        scheduled do
          ours = closing(IO.popen("cat", "r+"))
          log = closed_under(ours, reads[:gets], way: how.to_proc)
          expect(log).to include(error ? be_an_ended_wait : be_nil)
          ours.close
        end
      end
    end

    # Each block keeps a copy of the peer open, because the peer's close would end the wait as well.
    blocks = {
      "IO.pipe" => ->(body) { IO.pipe { |reader, writer| closing(writer.dup) && body.call(reader) } },
      "IO.popen" => ->(body) { IO.popen("cat", "r+", &body) },
      "UNIXSocket.pair" => ->(body) { UNIXSocket.pair { |ours, peer| closing(peer.dup) && body.call(ours) } },
      "Socket.pair" => ->(body) { Socket.pair(:UNIX, :STREAM) { |ours, peer| closing(peer.dup) && body.call(ours) } },
      "PTY.open" => ->(body) { PTY.open { |ours, peer| closing(peer.dup) && body.call(ours) } },
      "UNIXServer.open" => ->(body) { UNIXServer.open(free_path, &body) }
    }
    blocks.each do |name, open|
      it "at the end of the block of #{name} ends the waits on it" do
        scheduled do
          log = []
          body = lambda do |ours|
            Fiber.schedule { log << outcome_of { ours.is_a?(UNIXServer) ? ours.accept : ours.gets } }
          end
          instance_exec(body, &open)
          eventually { log.size == 1 }
          expect(log).to match([be_an_ended_wait])
        end
      end
    end

    it "at the end of the block of File.open ends the waits on it" do
      scheduled do
        File.mkfifo(path = free_path("fifo"))
        log = []
        File.open(path, "r+") { |ours| Fiber.schedule { log << outcome_of { ours.gets } } }
        eventually { log.size == 1 }
        expect(log).to match([be_an_ended_wait])
      end
    end

    it "by a trap handler ends the waits on it" do
      ours, peer = unix_pair
      usual = trap("USR2") { ours.close }
      log = scheduled { closed_under(ours, reads[:gets], way: ->(_) { Process.kill("USR2", Process.pid) }) }
      expect(log).to include(be_an_ended_wait)
      expect { peer.write("late") }.to raise_error(Errno::EPIPE)
    ensure
      trap("USR2", usual)
    end

    it "by a finalizer ends the waits on it" do
      ours, = unix_pair
      log = scheduled do
        collect = lambda do |_|
          10.times { ObjectSpace.define_finalizer(Object.new, ->(_) { ours.close }) }
          eventually { GC.start || ours.closed? }
        end
        closed_under(ours, reads[:gets], way: collect)
      end
      expect(log).to include(be_an_ended_wait)
    end

    it "by the root fiber of the thread ends the waits on it" do
      log = []
      peer = on_root do
        ours, peer = unix_pair
        Fiber.schedule { log << outcome_of { ours.gets } }
        ours.close
        peer.tap { expect { peer.write("late") }.to raise_error(Errno::EPIPE) }
      end
      expect(peer.read).to eq("")
      expect(log).to match([be_an_ended_wait])
    end

    it "by fibers of two threads that close each other's IOs ends the waits in both threads" do
      pairs = Array.new(2) { Array.new(20) { unix_pair.first } }
      ready = Array.new(2) { Thread::Queue.new }
      logs = [0, 1].map do |mine|
        Thread.new do
          UringIO.run(backend:) do
            log = []
            pairs[mine].each { |io| Fiber.schedule { log << outcome_of { io.gets } } }
            ready[1 - mine] << true
            ready[mine].pop
            pairs[1 - mine].each(&:close)
            eventually { log.size == 20 }
            log
          end
        end
      end
      expect(logs.flat_map(&:value)).to all(be_an_ended_wait)
    end
  end
end
