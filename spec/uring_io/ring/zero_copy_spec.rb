# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend(only: [:io_uring]) do
    describe "#send_zc", needs: :send_zc do
      it "sends frozen strings and buffers" do
        string = pattern(100_000).freeze
        everywhere do |ring|
          receiver, sender = tcp_pair
          [string, buffer_of(string)].each do |data|
            received = +""
            sent = ring.send_zc(sender, data)
            received << ring.recv(receiver, 1 << 20) until received.bytesize == sent
            expect(received).to eq(string.byteslice(0, sent))
          end
        end
      end

      it "keeps a buffer locked until the peer has all bytes, and unlocks it in a later call" do
        everywhere do |ring|
          receiver, sender = tcp_pair
          buffer = buffer_of(pattern(50_000))
          sent = ring.send_zc(sender, buffer)
          received = 0
          received += ring.recv(receiver, 1 << 20).bytesize until received == sent
          ring.timeout(0.001) while buffer.locked?
          buffer.free
          expect(received).to eq(sent)
        end
      end

      it "copies data below the threshold, from any String" do
        everywhere do |ring|
          receiver, sender = tcp_pair
          expect(ring.send_zc(sender, +"small")).to eq(5)
          expect(ring.send_zc(sender, "frozen", threshold: 0)).to eq(6)
          received = +""
          received << ring.recv(receiver, 99) until received.bytesize == 11
          expect(received).to eq("smallfrozen")
        end
      end

      it "refuses strings that can change, and slices of buffers" do
        everywhere do |ring|
          _, sender = tcp_pair
          [+"x", IO::Buffer.new(64).slice(0, 8)].each do |data|
            expect(raised { ring.send_zc(sender, data, threshold: 0) }).to be_a(ArgumentError)
          end
          expect(raised { ring.send_zc(sender, nil) }).to be_a(TypeError)
        end
      end

      it "raises the errors of send" do
        everywhere do |ring|
          buffer = buffer_of("x")
          _, sender = unix_pair
          expect(raised { ring.send_zc(pipe.last, buffer, threshold: 0) }).to be_a(Errno::ENOTSOCK)
          expect(raised { ring.send_zc(sender, buffer, threshold: 0) }).to be_a(Errno::EOPNOTSUPP)
          expect(raised { ring.send_zc(9999, buffer, threshold: 0) }).to be_a(Errno::EBADF)
          expect(buffer.locked?).to be(false)
        end
      end

      it "unlocks the buffer when it is ended while it waits", hurried: true do
        everywhere do |ring|
          receiver, sender = tcp_pair
          buffer = buffer_of("x" * 100)
          endings.each do |way|
            # Bytes in transit may make room a moment after nothing fits any longer. If a send succeeds while somebody
            # interrupts it, it returns its result. The exception then comes at the fiber's next wait, or at its end.
            nil until fill(sender).zero? && (ring.timeout(0.01) || fill(sender).zero?)
            expect(ended_by(way) { ring.send_zc(sender, buffer, threshold: 0) }).to be_a(IndexError).or be_nil
            drain(receiver)
            ring.timeout(0.001) while buffer.locked?
          end
          expect(buffer.locked?).to be(false)
        end
      end

      it "leaves memory that the kernel still uses in place when the collector runs" do
        with_ring do |ring|
          receiver, sender = tcp_pair
          sent = Array.new(8) do |number|
            length = ring.send_zc(sender, "".ljust(10_000, number.to_s).freeze, threshold: 0)
            GC.start
            GC.compact
            Array.new(100) { "*" * 10_000 }
            number.to_s * length
          end.join
          received = +""
          received << ring.recv(receiver, 1 << 20) until received.bytesize == sent.bytesize
          expect(received).to eq(sent)
        end
      end

      it "lets the ring close before the peer has read" do
        _receiver, sender = tcp_pair
        buffer = buffer_of(pattern(100_000))
        with_ring { |ring| expect(ring.send_zc(sender, buffer)).to be_positive }
        GC.start
      end

      # Linux 6.1 sends without a copy even to the same machine, and needs the memory until the peer has read.
      it "lets the program close the socket before the peer has read" do
        everywhere do |ring|
          receiver, sender = tcp_pair
          bytes = pattern(100_000)
          sent = ring.send_zc(sender, bytes.dup.freeze)
          sender.close
          expect(ring.recv(receiver, sent, Socket::MSG_WAITALL)).to eq(bytes[0, sent])
          expect(ring.recv(receiver, 1)).to be_nil.or eq("")
        end
      end
    end
  end

  each_backend(only: %i[epoll poll select]) do
    it "cannot send without a copy, and gives the reason" do
      everywhere do |ring|
        _, sender = tcp_pair
        buffer = buffer_of("x" * 100)
        error = raised { ring.send_zc(sender, buffer, threshold: 0) }
        expect([error.class, error.message]).to match([UringIO::UnsupportedError, /send_zc.*io_uring/m])
        expect(buffer.locked?).to be(false)
        expect(ring.send_zc(sender, "below the threshold")).to eq(19)
      end
    end
  end
end
