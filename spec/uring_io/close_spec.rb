# frozen_string_literal: true

require "fcntl"

RSpec.describe "IO#close under UringIO::Scheduler" do
  each_backend do |_backend|
    it "keeps a read in flight from reading another file that gets the descriptor's number" do
      received = []
      scheduled do
        reader, writer = unix_pair
        other, other_writer = unix_pair
        other_writer.write("another's")
        keeps_it_open = closing(reader.dup)
        fiber = Fiber.schedule { received << raised { received << reader.readpartial(20) } }
        number = reader.fileno
        reader.close
        taken = closing(IO.for_fd(other.fcntl(Fcntl::F_DUPFD, number)))
        expect(taken.fileno).to eq(number)
        let_others_run
        writer.write("its own") if keeps_it_open
        # On Ruby 3.x nobody wakes the fiber that reads.
        let_others_run
        fiber.raise(IndexError) if fiber.alive?
      end
      expect(received).not_to include("another's")
    end

    it "closes as usual when nobody waits" do
      reader, writer = pipe
      expect([reader.close, reader.close, reader.closed?]).to eq([nil, nil, true])
      expect { writer.write("x") }.to raise_error(Errno::EPIPE)
    end

    # The block starts a reader of the IO. Closing ends that reader first.
    def close_without_room
      _, sender = unix_pair
      sender.sync = false
      fill(sender)
      sender.write("there is no room for this")
      waiting = yield sender
      expect(ended_by(:timeout) { sender.close }).to be_a(IndexError)
      waiting
    end

    it "may be interrupted while it writes the IO's buffer without room, as without a scheduler" do
      reader = close_without_room do |sender|
        Thread.new { with_ring { |ring| raised { ring.recv(sender, 1) } } }
              .tap { |thread| Thread.pass until thread.status == "sleep" }
      end
      expect(reader.value).to be_a(IOError)
      scheduled do
        error = nil
        fiber = close_without_room { |sender| Fiber.schedule { error = raised { sender.readpartial(1) } } }
        eventually { !fiber.alive? }
        expect(error).to be_a(IOError)
      end
    end
  end
end
