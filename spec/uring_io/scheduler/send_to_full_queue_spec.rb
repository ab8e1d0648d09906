# frozen_string_literal: true

# An unconnected UNIX datagram socket always polls as writable, even if the queue of its peer is full. Ruby's own
# methods then send again at once, over and over.
RSpec.describe UringIO::Scheduler, "#io_wait for a send to a full queue" do
  def ends
    address = Addrinfo.unix(free_path, :DGRAM)
    [closing(Socket.new(:UNIX, :DGRAM)), closing(address.bind), address]
  end

  def fill(socket, address)
    sent = 0
    sent += 1 while socket.sendmsg_nonblock("x", 0, address, exception: false) == 1
    sent
  end

  # The number of system calls that the scheduler has made.
  def asked(scheduler)
    %i[enters direct_calls].sum { |kind| scheduler.stats[kind] }
  end

  each_backend do
    %i[send sendmsg].each do |name|
      it "waits in Socket##{name}, makes few system calls, and sends the message once" do
        ours, theirs, address = ends
        sent = nil
        got = []
        scheduled do |scheduler|
          full = fill(ours, address)
          Fiber.schedule { sent = ours.public_send(name, "the message", 0, address) }
          before = asked(scheduler)
          sleep(0.1)
          expect(asked(scheduler) - before).to be < 200
          expect(sent).to be_nil
          full.times { theirs.recv(100) }
          got << theirs.recv(100)
        end
        expect([sent, got]).to eq([11, ["the message"]])
      end
    end

    it "ends when a fiber closes the socket, and when it raises into the waiting fiber" do
      ours, theirs, address = ends
      scheduled do
        fill(ours, address)
        errors = []
        fibers = Array.new(2) { Fiber.schedule { errors << raised { ours.send("the message", 0, address) } } }
        fibers.last.raise(IndexError)
        ours.close
        eventually { errors.size == 2 }
        expect(errors.map(&:class)).to eq([IndexError, IOError])
        expect(theirs.recv(100)).to eq("x")
      end
    end

    it "does not slow down IO#wait_writable on such a socket" do
      ours, _, address = ends
      scheduled do |scheduler|
        fill(ours, address)
        before = monotonic
        400.times { ours.wait_writable }
        expect(monotonic - before).to be < 1.5
        expect(asked(scheduler)).to be > 0
      end
    end
  end
end
