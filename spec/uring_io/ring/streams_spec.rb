# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    describe "#accept_each" do
      def connect(server)
        closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
      end

      it "yields each connection until the block breaks" do
        everywhere do |ring|
          server = tcp_server
          clients = Array.new(3) { connect(server) }
          accepted = []
          value = ring.accept_each(server) do |descriptor|
            accepted << adopted(descriptor, Socket)
            break :enough if accepted.size == 3
          end
          expect([value, accepted.map(&:close_on_exec?)]).to eq([:enough, [true] * 3])
          expect(accepted.map { |socket| socket.remote_address.ip_port })
            .to match_array(clients.map { |client| client.local_address.ip_port })
        end
      end

      it "closes connections that it has not yielded, and leaves later ones" do
        everywhere do |ring|
          server = tcp_server
          before = descriptors
          clients = Array.new(5) { connect(server) }
          ring.accept_each(server) { |descriptor| break ring.close_descriptor(descriptor) }
          later = connect(server)
          ports = [*clients, later].map { |client| client.local_address.ip_port }
          eventually_accepted = []
          until eventually_accepted.include?(ports.last)
            accepted = adopted(ring.accept(server), Socket)
            eventually_accepted << accepted.remote_address.ip_port
            accepted.close
          end
          expect(ports).to include(*eventually_accepted)
          [*clients, later].each(&:close)
          expect(descriptors).to eq(before)
        end
      end

      it "waits for connections, and serves them in fibers meanwhile" do
        scheduled do
          with_ring do |ring|
            server = tcp_server
            serving = Fiber.schedule do
              ring.accept_each(server) do |descriptor|
                Fiber.schedule do
                  ring.send(descriptor, ring.recv(descriptor, 9).upcase)
                  ring.close_descriptor(descriptor)
                end
              end
            end
            answers = Array.new(10) do |number|
              client = connect(server)
              client.write("client#{number}")
              client.read
            end
            expect(answers).to eq(Array.new(10) { |number| "CLIENT#{number}" })
            serving.kill
          end
        end
      end

      it "ends when its block raises, and raises the errors of accept" do
        everywhere do |ring|
          server = tcp_server
          before = descriptors
          client = connect(server)
          error = raised do
            ring.accept_each(server) do |descriptor|
              ring.close_descriptor(descriptor)
              raise IndexError, "in the block"
            end
          end
          client.close
          expect([error.message, descriptors]).to eq(["in the block", before])
          expect(raised { ring.accept_each(pipe.first) { nil } }).to be_a(Errno::ENOTSOCK)
          expect(raised { ring.accept_each(9999) { nil } }).to be_a(Errno::EBADF)
        end
      end

      it "returns an Enumerator without a block" do
        everywhere do |ring|
          server = tcp_server
          Array.new(2) { connect(server) }
          sockets = ring.accept_each(server).first(2).map { |descriptor| adopted(descriptor, Socket) }
          expect(sockets.size).to eq(2)
        end
      end
    end

    describe "#recv_each and #read_each" do
      # Yields each of the two methods, with a pair of IOs that suits it.
      def each_way(ring)
        yield ring.method(:recv_each), *unix_pair
        yield ring.method(:read_each), *pipe
      end

      it "yield all input, and return nil at the end" do
        bytes = pattern(100_000)
        everywhere do |ring|
          each_way(ring) do |each, input, output|
            writer = Thread.new do
              output.write(bytes)
              output.close
            end
            pieces = []
            expect(each.call(input) { |piece| pieces << piece }).to be_nil
            writer.join
            expect([pieces.join, pieces.first.encoding]).to eq([bytes, Encoding::BINARY])
            expect(pieces.map(&:bytesize).max).to be <= 16_384
          end
        end
      end

      it "yield nothing at the end" do
        everywhere do |ring|
          each_way(ring) do |each, input, output|
            output.close
            expect(each.call(input) { |piece| raise piece }).to be_nil
          end
        end
      end

      it "leave later input for the next call when the block breaks" do
        everywhere do |ring|
          each_way(ring) do |each, input, output|
            output.write("first")
            expect(each.call(input) { |piece| break piece }).to eq("first")
            output.write("second")
            expect(ring.read(input, 99)).to eq("second")
            output.write("third")
            expect(raised { each.call(input) { |piece| raise IndexError, piece } }.message).to eq("third")
            output.write("fourth")
            expect(ring.read(input, 99)).to eq("fourth")
          end
        end
      end

      it "wait in a fiber while other fibers run" do
        scheduled do
          with_ring do |ring|
            each_way(ring) do |each, input, output|
              pieces = []
              waiting = Fiber.schedule { each.call(input) { |piece| pieces << piece } }
              %w[one two three].each_with_index do |piece, number|
                output.write(piece)
                eventually { pieces.size > number }
              end
              output.close
              eventually { !waiting.alive? }
              expect(pieces).to eq(%w[one two three])
            end
          end
        end
      end

      it "lose no input, and keep its order, when the block is slower than the sender" do
        sent = Array.new(1000) { |number| format("%04d", number) }
        everywhere do |ring|
          receiver, sender = closing_pair
          sender.setsockopt(:SOCKET, :SNDBUF, 1 << 20)
          received = []
          thread = Thread.new do
            sent.each { |data| sender.send(data, 0) }
            sender.close
          end
          ring.recv_each(receiver) do |piece|
            received << piece
            ring.nop if (received.size % 10).zero?
          end
          thread.join
          expect(received).to eq(sent)
        end
      end

      def closing_pair
        UNIXSocket.pair(:SEQPACKET).each { |io| closing(io) }
      end

      it "take only as much as they have room for from a peer that never stops" do
        scheduled do
          with_ring do |ring|
            receiver, sender = unix_pair
            written = 0
            writer = Thread.new do
              loop { written += sender.syswrite("x" * 16_384) }
            rescue Errno::EPIPE
              nil
            end
            seen = ring.recv_each(receiver) do |_|
              # Many turns of the scheduler. Each of them takes the completions of the ring.
              100.times { sleep(0.001) }
              break written
            end
            receiver.close
            writer.join
            expect(seen).to be < 16 << 20
          end
        end
      end

      it "end when no input comes within the timeout" do
        everywhere do |ring|
          each_way(ring) do |each, input, output|
            output.write("x")
            pieces = []
            expect(raised { each.call(input, timeout: 0.01) { |piece| pieces << piece } }).to be_a(IO::TimeoutError)
            expect(pieces).to eq(["x"])
            output.write("later")
            expect(ring.read(input, 99)).to eq("later")
          end
        end
      end

      it "end when they are interrupted, and then take no input" do
        everywhere do |ring|
          each_way(ring) do |each, input, output|
            endings.each do |way|
              expect(ended_by(way) { each.call(input) { nil } }).to be_a(IndexError).or be_nil
              output.write(way.to_s)
              expect(ring.read(input, 99)).to eq(way.to_s)
            end
          end
        end
      end

      it "end with the next input after another fiber has closed the ring" do
        scheduled do
          input, output = unix_pair
          ring = UringIO::Ring.new(backend:)
          got = []
          Fiber.schedule { got << raised { ring.recv_each(input) { |bytes| got << bytes } }.class }
          output.write("before")
          eventually { got.any? }
          ring.close
          output.write("after")
          eventually { got.size == 3 }
          expect(got).to eq(["before", "after", UringIO::ClosedError])
        end
      end

      it "end when another fiber cancels the calls on the descriptor" do
        scheduled do
          with_ring do |ring|
            each_way(ring) do |each, input, output|
              error = nil
              waiting = Fiber.schedule { error = raised { each.call(input) { nil } } }
              # The ring first asks the kernel for the descriptor's kind.
              eventually { ring.cancel(input) == 1 }
              eventually { !waiting.alive? }
              expect(error).to be_a(Errno::ECANCELED)
              output.write("x")
              expect(ring.read(input, 9)).to eq("x")
            end
          end
        end
      end

      it "return Enumerators without a block: first, lazy and next" do
        everywhere do |ring|
          each_way(ring) do |each, input, output|
            output.write("one")
            expect(each.call(input).first).to eq("one")
            output.write("two")
            expect(each.call(input).lazy.map(&:upcase).first(1)).to eq(["TWO"])
            output.write("three")
            enumerator = each.call(input)
            expect(enumerator.next).to eq("three")
            output.write("four")
            expect(enumerator.next).to eq("four")
            output.close
            expect(raised { enumerator.next }).to be_a(StopIteration)
          end
        end
      end

      it "work side by side in many fibers" do
        scheduled do
          with_ring do |ring|
            pairs = Array.new(20) { unix_pair }
            received = Array.new(20) { [] }
            pairs.each_with_index do |(receiver, _), number|
              Fiber.schedule { ring.recv_each(receiver) { |piece| received[number] << piece } }
            end
            5.times do |round|
              pairs.each_with_index { |(_, sender), number| sender.write("#{number}.#{round} ") }
              sleep(0)
            end
            pairs.each { |_, sender| sender.close }
            eventually { received.all? { |pieces| pieces.join.count(" ") == 5 } }
            expected = Array.new(20) { |number| Array.new(5) { |round| "#{number}.#{round} " }.join }
            expect(received.map(&:join)).to eq(expected)
          end
        end
      end

      it "allow other calls of the ring in the block, also streams" do
        everywhere do |ring|
          outer, outer_sender = unix_pair
          inner, inner_sender = unix_pair
          outer_sender.write("outer")
          inner_sender.write("inner")
          seen = ring.recv_each(outer) do |piece|
            break ring.recv_each(inner) { |other| break [piece, other, ring.nop] }
          end
          expect(seen).to eq(["outer", "inner", nil])
        end
      end

      it "raise the errors of recv and read" do
        everywhere do |ring|
          expect(raised { ring.recv_each(pipe.first) { nil } }).to be_a(Errno::ENOTSOCK)
          expect(raised { ring.recv_each(9999) { nil } }).to be_a(Errno::EBADF)
          expect(raised { ring.read_each(pipe.last) { nil } }).to be_a(Errno::EBADF)
          expect(raised { ring.read_each(9999) { nil } }).to be_a(Errno::EBADF)
          one, other = tcp_pair
          one.write("unread")
          other.setsockopt(Socket::Option.linger(true, 0))
          other.close
          expect(raised { ring.recv_each(one) { nil } }).to be_a(Errno::ECONNRESET)
          expect(raised { ring.recv_each("x") { nil } }).to be_a(TypeError)
          expect(raised { ring.recv_each(one, timeout: -1) { nil } }).to be_a(ArgumentError)
        end
      end

      it "read files to their end" do
        bytes = pattern(50_000)
        path = file_with(bytes)
        everywhere do |ring|
          File.open(path) { |file| expect(ring.read_each(file).to_a.join).to eq(bytes) }
        end
      end
    end

    describe "#poll_each" do
      it "yields the events each time that some happen" do
        scheduled do
          with_ring do |ring|
            receiver, sender = unix_pair
            seen = []
            waiting = Fiber.schedule do
              ring.poll_each(receiver, IO::READABLE) do |events|
                seen << [events, receiver.read_nonblock(9)]
              end
            end
            %w[one two].each_with_index do |data, number|
              sender.write(data)
              eventually { seen.size > number }
            end
            expect(seen).to eq([[IO::READABLE, "one"], [IO::READABLE, "two"]])
            waiting.kill
          end
        end
      end

      it "yields at once when the descriptor is ready, and ends when the block breaks" do
        everywhere do |ring|
          receiver, sender = unix_pair
          expect(ring.poll_each(receiver, IO::WRITABLE) { |events| break events }).to eq(IO::WRITABLE)
          sender.write("x")
          expect(ring.poll_each(receiver, IO::READABLE).first).to eq(IO::READABLE)
          expect(ring.recv(receiver, 9)).to eq("x")
          expect(raised { ring.poll_each(receiver, IO::READABLE, timeout: 0.001) { nil } }).to be_a(IO::TimeoutError)
          expect(raised { ring.poll_each(receiver, 0) { nil } }).to be_a(ArgumentError)
          expect(raised { ring.poll_each(9999, IO::READABLE) { nil } }).to be_a(Errno::EBADF)
        end
      end
    end

    it "may close with streams in flight" do
      receiver, sender = unix_pair
      scheduled do
        ring = described_class.new(backend:)
        waiting = Fiber.schedule { raised { ring.recv_each(receiver) { nil } } }
        sender.write("x")
        let_others_run
        ring.close
        waiting.kill
        eventually { !waiting.alive? }
      end
      sender.write("y")
      expect(receiver.recv_nonblock(9)).to end_with("y")
    end
  end

  each_backend(only: [:io_uring]) do
    it "makes fewer system calls than it yields pieces", needs: :recv_each do
      receiver, sender = UNIXSocket.pair(:SEQPACKET).each { |io| closing(io) }
      with_ring do |ring|
        100.times { |number| sender.send(number.to_s, 0) }
        before = ring.stats.system_calls
        count = 0
        ring.recv_each(receiver) { break if (count += 1) == 100 }
        expect(ring.stats.system_calls - before).to be < 20
      end
    end
  end
end
