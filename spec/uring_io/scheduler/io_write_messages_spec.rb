# frozen_string_literal: true

# Writes a datagram to a UNIX socket whose queue is full, as that of syslog may be. When a send on io_uring must wait
# there, newer kernels (seen on Linux 6.18) take the bytes at the first try, and send an empty message at the second:
# see Target::SocketAtOnce.
RSpec.describe UringIO::Scheduler, "#io_write of a datagram to a full queue" do
  # A socket, and the peer that it is connected to. The peer is not connected back.
  def ends
    address = Addrinfo.unix(free_path, :DGRAM)
    theirs = closing(address.bind)
    [closing(Socket.new(:UNIX, :DGRAM)).tap { |socket| socket.connect(address) }, theirs]
  end

  def fill(socket)
    sent = 0
    sent += 1 while socket.sendmsg_nonblock("x", exception: false) == 1
    sent
  end

  each_backend do
    %i[write syswrite].each do |call|
      it "waits in #{call} and sends the whole message, once" do
        ours, theirs = ends
        order = []
        got = []
        scheduled do
          full = fill(ours)
          Fiber.schedule do
            order << :writes
            order << ours.public_send(call, "the message")
          end
          sleep(0.01) # The kernel gets the write, and finds no room.
          expect(order).to eq([:writes])
          (full + 1).times { got << theirs.recv(100) }
        end
        expect(order).to eq([:writes, 11])
        expect(got.tally.except("x")).to eq("the message" => 1)
      end
    end
  end
end
