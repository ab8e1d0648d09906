# frozen_string_literal: true

require "fiddle"
require "io/console"
require "pty"

# rubocop:disable Lint/IncompatibleIoSelectWithFiberScheduler -- IO.select is what is examined here
# For each kind of file, in each state, IO.select and IO#wait answer as they do without a scheduler. select(2) calls
# only urgent input exceptional; poll(2) also reports errors and hang-ups.
RSpec.describe UringIO::Scheduler, "#io_select and #io_wait of every kind of file" do
  def terminal
    PTY.open.each { |io| closing(io) }.tap { |_, slave| slave.raw! }
  end

  def eventfd(count)
    made = Fiddle::Function.new(Fiddle::Handle::DEFAULT["eventfd"], [Fiddle::TYPE_INT] * 2, Fiddle::TYPE_INT)
    closing(IO.for_fd(made.call(count, 0), "r+"))
  end

  def with_peer(ios, kept = 0)
    yield(*ios)
    ios[kept]
  end

  kinds = {
    "a file" => -> { closing(File.open(file_with("content"), "r+")) },
    "a file to write" => -> { closing(File.open(free_path, "w")) },
    "a directory" => -> { closing(File.open("/")) },
    "/dev/null" => -> { closing(File.open("/dev/null", "r+")) },
    "/dev/zero" => -> { closing(File.open("/dev/zero")) },
    "an empty pipe" => -> { pipe.first },
    "a pipe with data" => -> { with_peer(pipe) { |_, writer| writer.write("x") } },
    "an ended pipe" => -> { with_peer(pipe) { |_, writer| writer.close } },
    "an ended pipe with data" => -> { with_peer(pipe) { |_, writer| writer.write("x") && writer.close } },
    "the end of a pipe to write to" => -> { pipe.last },
    "a full pipe" => -> { pipe.last.tap { |writer| fill(writer) } },
    "a pipe without reader" => -> { with_peer(pipe, 1) { |reader, _| reader.close } },
    "a full pipe without reader" => -> { with_peer(pipe, 1) { |reader, writer| fill(writer) && reader.close } },
    "a socket" => -> { unix_pair.first },
    "a socket with data" => -> { with_peer(unix_pair) { |_, peer| peer.write("x") } },
    "a full socket" => -> { unix_pair.first.tap { |socket| fill(socket) } },
    "an ended socket" => -> { with_peer(unix_pair) { |_, peer| peer.close } },
    "a full socket whose peer sends no more" => lambda {
      with_peer(unix_pair) { |socket, peer| fill(socket) && peer.close_write }
    },
    "a socket that sends no more" => -> { with_peer(unix_pair) { |socket, _| socket.close_write } },
    "a listening socket" => -> { tcp_server },
    "a listening socket with a connection" => lambda {
      tcp_server.tap { |server| closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port)) }
    },
    "a socket without connection" => -> { closing(Socket.new(:INET, :STREAM)) },
    "a connection" => -> { tcp_pair.first },
    "an ended connection" => -> { with_peer(tcp_pair) { |_, peer| peer.close } },
    "a half-closed connection" => -> { with_peer(tcp_pair) { |_, peer| peer.close_write } },
    "a reset connection" => lambda {
      with_peer(tcp_pair) do |_, peer|
        peer.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, [1, 0].pack("ii"))
        peer.close
      end
    },
    "a connection with urgent data" => -> { with_peer(tcp_pair) { |_, peer| peer.send("!", Socket::MSG_OOB) } },
    "a connection with data and urgent data" => lambda {
      with_peer(tcp_pair) { |_, peer| peer.send("data!", Socket::MSG_OOB) }
    },
    "a terminal" => -> { terminal.last },
    "a terminal with input" => -> { with_peer(terminal, 1) { |master, _| master.write("x") && master.flush } },
    "a terminal that hung up" => -> { with_peer(terminal, 1) { |master, _| master.close } },
    "the master of a terminal" => -> { terminal.first },
    "the master of a terminal that nobody has open" => -> { with_peer(terminal) { |_, slave| slave.close } },
    "an eventfd" => -> { eventfd(0) },
    "an eventfd that was added to" => -> { eventfd(1) }
  }

  # Every combination of the three arrays, alone and beside another IO, with a wait and without.
  def selections(io, quiet)
    choices = [0, 1].product([0, 1], [0, 1]) - [[0, 0, 0]]
    choices.product([[], [quiet]], [0, 0.01]).map do |(choice, others, timeout)|
      arrays = choice.zip([others, [], others]).map { |chosen, beside| ([io] * chosen) + beside }
      selected = IO.select(*arrays, timeout)
      [choice, others.size, timeout, selected&.map { |ios| ios.count(io) }]
    end
  end

  # Every combination of events, with a wait and without.
  def waits(io)
    (1..7).to_a.product([0, 0.01]).map { |events, timeout| [events, timeout, io.wait(events, timeout)] }
  end

  each_backend do |_backend|
    kinds.each do |name, make|
      it "answers the same as without a scheduler for #{name}" do
        io = instance_exec(&make)
        quiet = unix_pair.first
        answers = -> { [selections(io, quiet), waits(io)] }
        sleep(0.001) # the peer's last action may take a moment to arrive
        expected = answers.call
        expect(scheduled { answers.call }).to eq(expected)
      end
    end

    it "does not spin on a hang-up that concerns none of the wanted events" do
      ended, writer = pipe
      writer.close
      scheduled do |scheduler|
        before = scheduler.stats[:direct_calls]
        expect(IO.select(nil, [ended], [ended], 0.05)).to be_nil
        expect(IO.select(nil, nil, [ended], 0.05)).to be_nil
        expect(scheduler.stats[:direct_calls] - before).to be < 50
      end
    end

    it "wakes for urgent data after other data has come and another peer has closed" do
      socket, peer = tcp_pair
      peer.write("data")
      other, other_peer = unix_pair
      other_peer.close
      order = []
      scheduled do
        Fiber.schedule do
          order << :selects
          selected = IO.select(nil, nil, [socket, other])
          order << selected.map { |ios| ios.count(socket) }
        end
        let_others_run
        order << :sends
        peer.send("!", Socket::MSG_OOB)
      end
      expect(order).to eq([:selects, :sends, [0, 0, 1]])
    end
  end
end
# rubocop:enable Lint/IncompatibleIoSelectWithFiberScheduler
