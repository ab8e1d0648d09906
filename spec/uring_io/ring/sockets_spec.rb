# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    it "connects, accepts, sends, receives and shuts down", needs: :socket do
      everywhere do |ring|
        server = tcp_server
        client = ring.socket(:INET, :STREAM)
        expect(ring.connect(client, server.local_address)).to be_nil
        accepted = ring.accept(server)
        expect(ring.send(client, "ping")).to eq(4)
        expect(ring.recv(accepted, 9)).to eq("ping")
        expect(ring.shutdown(client, :WR)).to be_nil
        expect(ring.recv(accepted, 9)).to be_nil
        expect([client, accepted].map { |descriptor| IO.for_fd(descriptor, autoclose: false).close_on_exec? })
          .to eq([true, true])
        [client, accepted].each { |descriptor| ring.close_descriptor(descriptor) }
      end
    end

    it "waits for room when the peer has stopped sending, even if the socket has O_NONBLOCK" do
      %i[write send].each do |name|
        everywhere do |ring|
          ours, peer = unix_pair
          filled = 0
          while (count = ours.write_nonblock("f" * 65_536, exception: false)) != :wait_writable
            filled += count
          end
          peer.close_write
          reader = Thread.new { peer.read(filled + 5) }
          expect(ring.public_send(name, ours, "hello")).to eq(5)
          expect(reader.value).to end_with("fhello")
        end
      end
    end

    it "stops waiting for room when its timeout passes" do
      everywhere do |ring|
        ours, peer = unix_pair
        nil until ours.write_nonblock("f" * 65_536, exception: false) == :wait_writable
        peer.close_write
        expect { ring.write(ours, "hello", timeout: 0.01) }.to raise_error(IO::TimeoutError)
      end
    end

    it "makes a socket, binds it and listens", needs: %i[socket bind listen] do
      everywhere do |ring|
        server = adopted(ring.socket(:INET), Socket)
        expect(ring.bind(server, Addrinfo.tcp("127.0.0.1", 0))).to be_nil
        expect(ring.listen(server)).to be_nil
        client = closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
        accepted = adopted(ring.accept(server), Socket)
        expect(accepted.remote_address.ip_port).to eq(client.local_address.ip_port)
      end
    end

    it "takes the same arguments as Socket.new", needs: :socket do
      everywhere do |ring|
        [[:UNIX], %w[INET DGRAM], [Socket::AF_INET, Socket::SOCK_STREAM], %i[AF_INET SOCK_STREAM],
         [:UNIX, :SEQPACKET, 0]].each do |arguments|
          ours = adopted(ring.socket(*arguments), Socket)
          rubys = closing(Socket.new(arguments[0], *(arguments[1] || :STREAM), *arguments[2]))
          of_ours, of_rubys = [ours, rubys].map do |socket|
            [socket.local_address.afamily, socket.getsockopt(:SOCKET, :TYPE).int]
          end
          expect(of_ours).to eq(of_rubys)
        end
      end
    end

    it "connects to a UNIX socket by a packed address", needs: :socket do
      everywhere do |ring|
        server = closing(UNIXServer.new(free_path))
        client = adopted(ring.socket(:UNIX), Socket)
        ring.connect(client, Socket.sockaddr_un(server.path))
        accepted = adopted(ring.accept(server), Socket)
        ring.send(accepted, "hi")
        expect(client.recv(2)).to eq("hi")
      end
    end

    it "keeps the boundaries of datagrams" do
      everywhere do |ring|
        server, client = Array.new(2) { closing(UDPSocket.new).tap { |socket| socket.bind("127.0.0.1", 0) } }
        ring.connect(client, server.local_address)
        ["first", "", "third"].each { |data| expect(ring.send(client, data)).to eq(data.bytesize) }
        expect([ring.recv(server, 3), ring.recv(server, 9), ring.recv(server, 9)]).to eq(["fir", nil, "third"])
      end
    end

    it "takes an empty datagram for the end in #recv_each" do
      everywhere do |ring|
        server, client = Array.new(2) { closing(UDPSocket.new).tap { |socket| socket.bind("127.0.0.1", 0) } }
        ring.connect(client, server.local_address)
        ["first", "", "third"].each { |data| ring.send(client, data) }
        expect([ring.recv_each(server).to_a, ring.recv(server, 9)]).to eq([["first"], "third"])
      end
    end

    it "passes flags to the kernel" do
      everywhere do |ring|
        receiver, sender = tcp_pair
        ring.send(sender, "ab")
        expect([ring.recv(receiver, 2, Socket::MSG_PEEK), ring.recv(receiver, 2)]).to eq(%w[ab ab])
        expect(raised { ring.recv(receiver, 1, Socket::MSG_DONTWAIT) }).to be_a(Errno::EAGAIN)
        ring.send(sender, "!", Socket::MSG_OOB)
        expect(ring.recv(receiver, 1, Socket::MSG_OOB)).to eq("!")
      end
    end

    it "waits for all bytes with MSG_WAITALL" do
      scheduled do
        with_ring do |ring|
          receiver, sender = tcp_pair
          got = nil
          Fiber.schedule { got = ring.recv(receiver, 4, Socket::MSG_WAITALL) }
          ring.send(sender, "ab")
          # Long enough for a turn, in which half of the bytes arrive.
          sleep(0.002)
          expect(got).to be_nil
          ring.send(sender, "cd")
          eventually { got }
          expect(got).to eq("abcd")
        end
      end
    end

    it "sends all bytes with MSG_WAITALL" do
      everywhere do |ring|
        receiver, sender = unix_pair
        reader = Thread.new { receiver.read }
        expect(ring.send(sender, "x" * 1_000_000, Socket::MSG_WAITALL)).to eq(1_000_000)
        sender.close
        expect(reader.value.bytesize).to eq(1_000_000)
      end
    end

    it "does not wait for the rest with MSG_WAITALL and MSG_DONTWAIT, and tells how many bytes it has moved" do
      flags = Socket::MSG_WAITALL | Socket::MSG_DONTWAIT
      everywhere do |ring|
        [unix_pair, tcp_pair].each do |receiver, sender|
          ring.send(sender, "ab")
          expect(ring.recv(receiver, 4, flags)).to eq("ab")
          expect(raised { ring.recv(receiver, 4, flags) }).to be_a(Errno::EAGAIN)
        end
        receiver, sender = unix_pair
        sent = ring.send(sender, "x" * 10_000_000, flags)
        expect(raised { ring.send(sender, "x", flags) }).to be_a(Errno::EAGAIN)
        sender.close
        expect(receiver.read.bytesize).to eq(sent)
      end
    end

    it "breaks a chain by a part of the bytes with MSG_WAITALL and MSG_DONTWAIT" do
      flags = Socket::MSG_WAITALL | Socket::MSG_DONTWAIT
      everywhere do |ring|
        receiver, sender = unix_pair
        ring.send(sender, "ab")
        error = raised { ring.chain { |chain| [chain.recv(receiver, 4, flags), chain.nop] } }
        expect(error).to be_a(UringIO::ChainError)
      end
    end

    it "peeks at bytes once with MSG_WAITALL and MSG_PEEK, also in a chain" do
      flags = Socket::MSG_WAITALL | Socket::MSG_PEEK
      everywhere do |ring|
        [unix_pair, tcp_pair].each do |receiver, sender|
          ring.send(sender, "ab")
          expect(ring.recv(receiver, 4, flags)).to eq("ab")
          expect(ring.chain { |c| [c.recv(receiver, 4, flags), c.nop] }).to eq(["ab", nil])
          expect(ring.recv(receiver, 4)).to eq("ab")
        end
      end
    end

    it "keeps messages apart with MSG_WAITALL" do
      everywhere do |ring|
        %i[DGRAM SEQPACKET].each do |type|
          receiver, sender = UNIXSocket.pair(type).each { |io| closing(io) }
          %w[ab cd ef gh].each { |data| expect(ring.send(sender, data, Socket::MSG_WAITALL)).to eq(2) }
          expect(ring.recv(receiver, 4, Socket::MSG_WAITALL)).to eq("ab")
          expect(ring.chain { |c| [c.recv(receiver, 4, Socket::MSG_WAITALL), c.nop] }).to eq(["cd", nil])
          expect(ring.batch { |b| b.recv(receiver, 4, Socket::MSG_WAITALL) }).to eq(["ef"])
          expect(ring.recv(receiver, 4)).to eq("gh")
        end
      end
    end

    it "takes what there is by recvmsg, also with MSG_WAITALL and in a chain" do
      everywhere do |ring|
        receiver, sender = unix_pair
        [0, 64].product([0, Socket::MSG_PEEK]).each do |controllen, peek|
          flags = peek | Socket::MSG_WAITALL
          ring.send(sender, "ab")
          expect(ring.recvmsg(receiver, 4, flags, controllen:)[0]).to eq("ab")
          drain(receiver)
          ring.send(sender, "cd")
          message, nothing = ring.chain do |c|
            c.recvmsg(receiver, 4, flags, controllen:)
            c.nop
          end
          expect([message[0], nothing]).to eq(["cd", nil])
          drain(receiver)
        end
      end
    end

    it "waits in a fiber while other fibers run" do
      order = []
      scheduled do
        with_ring do |ring|
          receiver, sender = unix_pair
          Fiber.schedule { order << ring.recv(receiver, 9) }
          order << :parked
          sender.write("later")
          eventually { order.size == 2 }
        end
      end
      expect(order).to eq([:parked, "later"])
    end

    it "waits without the GVL outside of a scheduler" do
      receiver, sender = unix_pair
      thread = Thread.new { sender.write("from another thread") }
      with_ring { |ring| expect(ring.recv(receiver, 99)).to eq("from another thread") }
      thread.join
    end

    it "waits for a connection, and for room to send", hurried: true do
      scheduled do
        with_ring do |ring|
          server = tcp_server
          accepted = nil
          Fiber.schedule { accepted = ring.accept(server) }
          client = closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
          eventually { accepted }
          socket = adopted(accepted, Socket)
          filled = fill(client)
          sent = nil
          Fiber.schedule { sent = ring.send(client, "last") }
          let_others_run
          expect(sent).to be_nil
          received = 0
          received += ring.recv(socket, 1 << 20).bytesize until received == filled + 4
          expect(sent).to eq(4)
        end
      end
    end

    it "ends when its timeout passes, and then takes no input" do
      everywhere do |ring|
        receiver, sender = unix_pair
        expect(raised { ring.recv(receiver, 1, timeout: 0.01) }).to be_a(IO::TimeoutError)
        expect(raised { ring.accept(tcp_server, timeout: 0) }).to be_a(IO::TimeoutError)
        fill(sender)
        expect(raised { ring.send(sender, "x", timeout: 0.01) }).to be_a(IO::TimeoutError)
        drain(receiver)
        sender.write("x")
        expect(ring.recv(receiver, 1, timeout: 10)).to eq("x")
      end
    end

    it "ends when it is interrupted, and then takes no input" do
      everywhere do |ring|
        receiver, sender = unix_pair
        endings.each do |way|
          expect(ended_by(way) { ring.recv(receiver, 1) }).to be_a(IndexError).or be_nil
          sender.write(way.to_s)
          expect(ring.recv(receiver, 99)).to eq(way.to_s)
        end
      end
    end

    it "loses no connection and no descriptor when it is interrupted" do
      server = tcp_server
      everywhere do |ring|
        before = descriptors
        endings.each { |way| ended_by(way) { ring.accept(server) } }
        expect(descriptors).to eq(before)
        client = closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
        accepted = adopted(ring.accept(server), Socket)
        expect(accepted.remote_address.ip_port).to eq(client.local_address.ip_port)
      end
    end

    it "cancels the waits of other fibers on a descriptor" do
      scheduled do
        with_ring do |ring|
          receiver, sender = unix_pair
          errors = []
          2.times { Fiber.schedule { errors << raised { ring.recv(receiver, 1) } } }
          other, = unix_pair
          waiting = Fiber.schedule { raised { ring.recv(other, 1) } }
          expect(ring.cancel(receiver)).to eq(2)
          eventually { errors.size == 2 }
          expect(errors).to all(be_a(Errno::ECANCELED))
          expect([waiting.alive?, ring.cancel(receiver)]).to eq([true, 0])
          waiting.kill
          sender.write("x")
          expect(ring.recv(receiver, 1)).to eq("x")
        end
      end
    end

    it "sets options as Ruby's setsockopt does", needs: :setsockopt do
      linger = Socket::Option.linger(true, 3).data
      everywhere do |ring|
        [[:SOCKET, :REUSEADDR, true], [:SOCKET, :REUSEADDR, false], ["SOL_SOCKET", "SO_KEEPALIVE", 1],
         [Socket::SOL_SOCKET, Socket::SO_SNDBUF, 50_000], [:TCP, :NODELAY, true], %i[IP TTL].push(7),
         [:SOCKET, :LINGER, linger], [:SOCKET, :LINGER, linger.dup.freeze]].each do |option|
          ours, rubys = Array.new(2) { closing(Socket.new(:INET, :STREAM)) }
          expect(ring.setsockopt(ours, *option)).to be_nil
          rubys.setsockopt(*option)
          set = [ours, rubys].map { |socket| socket.getsockopt(*option.first(2)).data }
          expect(set.first).to eq(set.last)
        end
        socket = closing(UDPSocket.new(:INET6))
        ring.setsockopt(socket.fileno, :IPV6, :V6ONLY, true)
        expect(socket.getsockopt(:IPV6, :V6ONLY).bool).to be(true)
      end
    end

    it "sets options of many sockets at once, and of a socket that a chain makes", needs: %i[setsockopt bind install] do
      everywhere do |ring|
        sockets = Array.new(3) { closing(Socket.new(:INET, :STREAM)) }
        expect(ring.batch { |calls| sockets.each { |socket| calls.setsockopt(socket, :TCP, :NODELAY, true) } })
          .to eq([nil] * 3)
        expect(sockets.map { |socket| socket.getsockopt(:TCP, :NODELAY).bool }).to eq([true] * 3)
        *results, descriptor = ring.chain do |steps|
          server = steps.socket(:INET)
          steps.setsockopt(server, :SOCKET, :REUSEADDR, true)
          steps.bind(server, Addrinfo.tcp("127.0.0.1", 0))
          steps.listen(server)
          steps.install(server)
        end
        expect(results).to eq([0, nil, nil, nil])
        server = adopted(descriptor, Socket)
        expect([server.getsockopt(:SOCKET, :REUSEADDR).bool, server.getsockopt(:SOCKET, :ACCEPTCONN).bool])
          .to eq([true, true])
      end
    end

    it "raises the errors of Ruby's setsockopt, and an error for a descriptor that is no socket", needs: :setsockopt do
      everywhere do |ring|
        socket = closing(Socket.new(:INET, :STREAM))
        [[:SOCKET, 9999, 1], [9999, 1, 1], [:SOCKET, :REUSEADDR, ""], [:SOCKET, :LINGER, 1],
         [:IP, :TTL, 999]].each do |option|
          expect_same_errno(-> { ring.setsockopt(socket, *option) }, -> { socket.setsockopt(*option) })
        end
        error = raised { ring.setsockopt(pipe.first, :SOCKET, :REUSEADDR, true) }
        expect(error).to be_a(backend == :io_uring ? Errno::EOPNOTSUPP : Errno::ENOTSOCK)
      end
    end

    it "sets options of UNIX sockets where the kernel allows that", needs: :setsockopt do
      everywhere do |ring|
        socket, = unix_pair
        error = raised { ring.setsockopt(socket, :SOCKET, :PASSCRED, true) }
        # io_uring/cmd_net.c of older kernels refuses sockets whose protocol has no ioctl(2).
        skip "this kernel does not" if error.is_a?(Errno::EOPNOTSUPP) && backend == :io_uring
        expect([error, socket.getsockopt(:SOCKET, :PASSCRED).bool]).to eq([nil, true])
      end
    end

    it "raises the errors of Ruby's methods", needs: :socket do
      everywhere do |ring|
        free = TCPServer.open("127.0.0.1", 0, &:local_address)
        new_socket = -> { closing(Socket.new(:INET, :STREAM)) }
        expect_same_errno(-> { ring.connect(new_socket.call, free) }, -> { new_socket.call.connect(free) })
        expect_same_errno(-> { ring.socket(:INET, :STREAM, 255) }, -> { Socket.new(:INET, :STREAM, 255) })
        expect_same_errno(-> { ring.accept(new_socket.call) }, -> { new_socket.call.accept })
        expect_same_errno(-> { ring.shutdown(new_socket.call) }, -> { new_socket.call.shutdown })
        expect_same_errno(-> { ring.recv(new_socket.call, 1) }, -> { new_socket.call.recv(1) })
        missing = Addrinfo.unix(free_path)
        unix = -> { closing(Socket.new(:UNIX, :STREAM)) }
        expect_same_errno(-> { ring.connect(unix.call, missing) }, -> { unix.call.connect(missing) })
        %i[recv accept shutdown].each do |name|
          arguments = name == :recv ? [1] : []
          expect(raised { ring.public_send(name, pipe.first, *arguments) }).to be_a(Errno::ENOTSOCK)
          expect(raised { ring.public_send(name, 9999, *arguments) }).to be_a(Errno::EBADF)
        end
        expect(raised { ring.shutdown(tcp_server, 77) }).to be_a(Errno::EINVAL)
      end
    end

    it "raises the errors of Socket#bind and Socket#listen", needs: %i[bind listen] do
      everywhere do |ring|
        server = tcp_server
        new_socket = -> { closing(Socket.new(:INET, :STREAM)) }
        expect_same_errno(-> { ring.bind(new_socket.call, server.local_address) },
                          -> { new_socket.call.bind(server.local_address) })
        expect(raised { ring.listen(pipe.first) }).to be_a(Errno::ENOTSOCK)
        expect(raised { ring.listen(9999) }).to be_a(Errno::EBADF)
        expect(raised { ring.listen(closing(UDPSocket.new)) }).to be_a(Errno::EOPNOTSUPP)
      end
    end

    it "raises EPIPE without SIGPIPE, and ECONNRESET" do
      everywhere do |ring|
        receiver, sender = unix_pair
        receiver.close
        expect(raised { ring.send(sender, "x") }).to be_a(Errno::EPIPE)
        one, other = tcp_pair
        one.write("unread")
        other.setsockopt(Socket::Option.linger(true, 0))
        other.close
        expect(raised { ring.recv(one, 1) }).to be_a(Errno::ECONNRESET)
      end
    end
  end
end
