# frozen_string_literal: true

# Sends datagrams to a UNIX socket whose queue is full. When a send of io_uring waits there, it takes the bytes at its
# first try and sends an empty message at the second (seen on Linux 6.18). An unconnected sender always polls as
# writable.
RSpec.describe UringIO::Ring, "when the queue of a socket is full" do
  # How to send a message on each kind of socket.
  def self.senders
    { "#send" => [true, ->(calls, socket, data, _) { calls.send(socket, data) }],
      "#sendmsg" => [true, ->(calls, socket, data, _) { calls.sendmsg(socket, data) }],
      "#sendmsg to an address" => [false, ->(calls, socket, data, to) { calls.sendmsg(socket, data, 0, to) }] }
  end

  # Ways to make the call together with others. Each returns the result of the call under test.
  def self.ways
    { "alone" => ->(ring, &block) { block.call(ring) },
      "in a batch" => ->(ring, &block) { ring.batch { |calls| block.call(calls).then { calls.nop } }.first },
      "in a chain" => lambda do |ring, &block|
        ring.chain { |steps| steps.nop.then { block.call(steps) }.then { steps.nop } }[1]
      end,
      "in a chain that goes on" => lambda do |ring, &block|
        ring.chain(hardlink: true) { |steps| block.call(steps).then { steps.nop } }.first
      end }
  end

  # A socket, the full socket that it sends to, and the address of the latter.
  def ends(connected)
    address = Addrinfo.unix(free_path, :DGRAM)
    theirs = closing(address.bind)
    ours = closing(Socket.new(:UNIX, :DGRAM))
    ours.connect(address) if connected
    @sent = 0
    @sent += 1 while ours.sendmsg_nonblock("x", 0, connected ? nil : address, exception: false) == 1
    [ours, theirs, address]
  end

  # The messages that the socket got after the filling.
  def received(theirs)
    got = []
    while (message = theirs.recv_nonblock(100, exception: false)) != :wait_readable
      got << message
    end
    got.drop(@sent)
  end

  # Runs the block in another thread once the caller waits in the kernel.
  def meanwhile
    waiting = Thread.current
    Thread.new do
      Thread.pass until waiting.status == "sleep"
      sleep(0.01) # The caller may not wait yet.
      yield
    end
  end

  # Takes the messages that fill the queue once the caller waits, which makes room.
  def emptied(theirs)
    thread = meanwhile { @sent.times { theirs.recv(100) } }
    yield
  ensure
    thread.join
  end

  # Sends in a fiber, alone and in a batch. Yields the ring, the socket, and an Array that gets the outcome of the send.
  def each_that_waits(connected, send)
    scheduled do
      with_ring do |ring|
        [->(&block) { block.call(ring) }, ->(&block) { ring.batch(&block).first }].each do |way|
          ours, theirs, address = ends(connected)
          came_to = []
          Fiber.schedule do
            came_to << way.call { |calls| send.call(calls, ours, "the message", address) }
          rescue IOError, SystemCallError => error
            came_to << error
          end
          sleep(0.01) # The kernel gets the send, and finds no room.
          expect(came_to).to eq([])
          yield ring, ours, came_to
          expect(received(theirs)).to eq([])
        end
      end
    end
  end

  each_backend do |backend|
    senders.each do |name, (connected, send)|
      describe name do
        ways.each do |how, way|
          it "waits #{how} and sends the whole message, once" do
            everywhere do |ring|
              ours, theirs, address = ends(connected)
              emptied(theirs) do
                sent = way.call(ring) { |calls| send.call(calls, ours, "the message", address) }
                expect(sent).to eq(11)
              end
              @sent = 0
              expect(received(theirs)).to eq(["the message"])
            end
          end
        end

        it "sends a message without bytes" do
          everywhere do |ring|
            ours, theirs, address = ends(connected)
            emptied(theirs) { expect(send.call(ring, ours, "", address)).to eq(0) }
            expect(send.call(ring, ours, "", address)).to eq(0)
            @sent = 0
            expect(received(theirs)).to eq(["", ""])
          end
        end

        it "keeps a waiting message from the garbage collector" do
          everywhere do |ring|
            ours, theirs, address = ends(connected)
            thread = meanwhile do
              GC.compact
              Array.new(10_000) { "y" * 100 }
              @sent.times { theirs.recv(100) }
            end
            results = ring.batch do |calls|
              send.call(calls, ours, %w[the string].join(" "), address)
              send.call(calls, ours, buffer_of("the buffer"), address)
            end
            thread.join
            @sent = 0
            expect([results, received(theirs).sort]).to eq([[10, 10], ["the buffer", "the string"]])
          end
        end

        it "waits until its timeout passes or it is interrupted, and then sends nothing" do
          everywhere do |ring|
            ours, theirs, address = ends(connected)
            endings.each do |way|
              error = ended_by(way) { send.call(ring, ours, "the message", address) }
              expect(error).to be_a(IndexError).or be_nil
            end
            results = ring.batch { |calls| calls.sendmsg(ours, "m", 0, (address unless connected), timeout: 0.02) }
            expect(results).to match([be_a(IO::TimeoutError)])
            error = raised { ring.chain(timeout: 0.02) { |steps| send.call(steps, ours, "m", address) } }
            expect(error.cause).to be_a(IO::TimeoutError)
            expect(received(theirs)).to eq([])
          end
        end

        it "ends when somebody closes its socket, alone and in a batch" do
          each_that_waits(connected, send) do |_, ours, came_to|
            ours.close
            eventually { came_to.any? }
            expect(came_to).to match([be_an_instance_of(IOError)])
          end
        end

        it "ends when somebody cancels the calls on its socket, alone and in a batch" do
          each_that_waits(connected, send) do |ring, ours, came_to|
            expect([came_to, ring.cancel(ours)]).to eq([[], 1])
            eventually { came_to.any? }
            expect(came_to).to match([be_an_instance_of(Errno::ECANCELED)])
          end
        end

        it "makes few system calls while it waits" do
          calls = lambda do |ring, ours, address|
            before = ring.stats.system_calls
            [-> { ring.batch { |batch| send.call(batch, ours, "m", address) } },
             -> { send.call(ring, ours, "m", address) }].each do |make|
              expect(raised { Timeout.timeout(0.1, IndexError) { make.call } }).to be_a(IndexError)
            end
            ring.stats.system_calls - before
          end
          with_ring do |ring|
            ours, _, address = ends(connected)
            expect(calls.call(ring, ours, address)).to be < 150
          end
        end
      end
    end

    # In a chain the kernel waits. A direct descriptor has no number by which the ring could ask about the socket.
    outcome = backend == :io_uring ? "fails" : "waits"
    it "#{outcome} in a chain that opens the sender, and sends no other message", needs: :direct_descriptors do
      with_ring do |ring|
        _, theirs, address = ends(true)
        make = lambda do
          ring.chain do |steps|
            socket = steps.socket(:UNIX, :DGRAM)
            steps.connect(socket, address)
            steps.send(socket, "the message")
          end
        end
        if outcome == "fails"
          error = raised(&make)
          expect([error.step.name, error.cause.class]).to eq([:send, Errno::EAGAIN])
          expect(received(theirs)).to eq([])
        else
          emptied(theirs) { expect(make.call.last).to eq(11) }
          expect(theirs.recv(100)).to eq("the message")
        end
        @sent = 0
        expect([make.call.last, received(theirs)]).to eq([11, ["the message"]])
      end
    end

    it "waits on a stream socket until there is room" do
      everywhere do |ring|
        [unix_pair, tcp_pair].each do |theirs, ours|
          room = fill(ours)
          thread = meanwhile { theirs.read(room) }
          expect([ring.send(ours, "more", Socket::MSG_WAITALL), ring.send(ours, "!")]).to eq([4, 1])
          thread.join
          expect(theirs.read(5)).to eq("more!")
        end
      end
    end
  end
end
