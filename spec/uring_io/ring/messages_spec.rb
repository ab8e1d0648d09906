# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    def udp
      closing(UDPSocket.new).tap { |socket| socket.bind("127.0.0.1", 0) }
    end

    # The parts of a message that must be the same from Ruby's recvmsg and from the ring's.
    def described(message)
      data, address, flags, *controls = message
      [data, address.afamily, flags, controls.map { |control| [control.level, control.type, control.data] }]
    end

    describe "#sendmsg and #recvmsg" do
      it "do what BasicSocket#sendmsg and BasicSocket#recvmsg do with datagrams" do
        everywhere do |ring|
          server, client = Array.new(2) { udp }
          2.times { expect(ring.sendmsg(client, "hello", 0, server.local_address)).to eq(5) }
          ours = ring.recvmsg(server, 99)
          rubys = server.recvmsg(99)
          expect(described(ours)).to eq(described(rubys))
          expect(ours[1].ip_port).to eq(client.local_address.ip_port)
          client.connect(*server.local_address.ip_unpack)
          ring.sendmsg(client, "connected")
          ring.sendmsg(client, buffer_of("buffer"), 0, nil)
          expect([ring.recvmsg(server, 99)[0], ring.recvmsg(server, 99)[0]]).to eq(%w[connected buffer])
        end
      end

      it "take packed addresses" do
        everywhere do |ring|
          server, client = Array.new(2) { udp }
          ring.sendmsg(client, "x", 0, server.local_address.to_sockaddr)
          expect(ring.recvmsg(server, 1)[0]).to eq("x")
        end
      end

      it "report truncated data" do
        everywhere do |ring|
          server, client = Array.new(2) { udp }
          2.times { ring.sendmsg(client, "longer", 0, server.local_address) }
          data, _, flags = ring.recvmsg(server, 4)
          expect([data, flags & Socket::MSG_TRUNC]).to eq(["long", Socket::MSG_TRUNC])
          expect(ring.recvmsg(server, 99, Socket::MSG_PEEK)[0]).to eq("longer")
          expect(ring.recvmsg(server, 99)[0]).to eq("longer")
        end
      end

      it "distinguish an empty datagram from the end of a stream" do
        everywhere do |ring|
          server, client = Array.new(2) { udp }
          ring.sendmsg(client, "", 0, server.local_address)
          expect(ring.recvmsg(server, 9)[0]).to eq("")
          receiver, sender = unix_pair
          sender.close
          expect(ring.recvmsg(receiver, 9)).to be_nil
          expect(ring.recvmsg(receiver.fileno, 9)).to be_nil
        end
      end

      it "know datagrams by the number of their descriptor, or by an IO that is no Socket" do
        everywhere do |ring|
          server, client = Array.new(2) { udp }
          [server.fileno, closing(IO.for_fd(server.fileno, autoclose: false))].each do |io|
            ring.sendmsg(client, "", 0, server.local_address)
            expect(ring.recvmsg(io, 9)[0]).to eq("")
          end
          GC.start
          expect(server.local_address.ip_port).to be_positive
        end
      end

      it "take an empty record of a SEQPACKET socket for the end, as Ruby does" do
        everywhere do |ring|
          receiver, sender = UNIXSocket.pair(:SEQPACKET).each { |io| closing(io) }
          2.times { sender.send("", 0) }
          expect([ring.recvmsg(receiver, 9), receiver.recvmsg(9)]).to eq([nil, nil])
          sender.close
          expect([ring.recvmsg(receiver, 9), receiver.recvmsg(9)]).to eq([nil, nil])
        end
      end

      it "pass descriptors to the peer" do
        everywhere do |ring|
          receiver, sender = unix_pair
          files = Array.new(3) { |number| closing(File.open(file_with("number #{number}"))) }
          expect(ring.sendmsg(sender, "x", 0, nil, Socket::AncillaryData.unix_rights(*files))).to eq(1)
          data, _, _, rights = ring.recvmsg(receiver, 9, scm_rights: true)
          expect(data).to eq("x")
          passed = rights.unix_rights.map { |io| closing(io) }
          expect(passed.map(&:read)).to eq(["number 0", "number 1", "number 2"])
          expect(passed.map(&:close_on_exec?)).to eq([true] * 3)
        end
      end

      it "pass descriptors to and from Ruby's own methods" do
        everywhere do |ring|
          receiver, sender = unix_pair
          file = closing(File.open(file_with("content")))
          ring.sendmsg(sender, "x", 0, nil, Socket::AncillaryData.unix_rights(file))
          expect(closing(receiver.recv_io).read).to eq("content")
          file.rewind
          sender.send_io(file)
          rights = ring.recvmsg(receiver, 1, scm_rights: true).last
          expect(closing(rights.unix_rights.first).read).to eq("content")
        end
      end

      it "close received descriptors unless the caller asks for them" do
        everywhere do |ring|
          receiver, sender = unix_pair
          reader, writer = pipe
          before = descriptors
          ring.sendmsg(sender, "x", 0, nil, Socket::AncillaryData.unix_rights(writer))
          expect(ring.recvmsg(receiver, 9).size).to eq(3)
          expect(descriptors).to eq(before)
          writer.close
          expect(ring.read(reader, 1)).to be_nil
        end
      end

      it "close descriptors for which there is no room" do
        everywhere do |ring|
          receiver, sender = unix_pair
          before = descriptors
          rights = Socket::AncillaryData.unix_rights(*[$stdin] * 8)
          ring.sendmsg(sender, "x", 0, nil, rights)
          _, _, flags, *controls = ring.recvmsg(receiver, 9, controllen: 24, scm_rights: true)
          expect(flags & Socket::MSG_CTRUNC).to eq(Socket::MSG_CTRUNC)
          controls.flat_map(&:unix_rights).each(&:close)
          ring.sendmsg(sender, "y", 0, nil, rights)
          expect(ring.recvmsg(receiver, 9, controllen: 0)[0]).to eq("y")
          expect(descriptors).to eq(before)
        end
      end

      it "send and receive other ancillary data" do
        everywhere do |ring|
          server, client = Array.new(2) { udp }
          server.setsockopt(:IP, :PKTINFO, true)
          server.setsockopt(:SOCKET, :TIMESTAMP, true)
          2.times { ring.sendmsg(client, "x", 0, server.local_address) }
          ours = ring.recvmsg(server, 9)
          rubys = server.recvmsg(9)
          kinds = [ours, rubys].map { |message| message[3..].map { |control| [control.level, control.type] } }
          expect(kinds.first).to eq(kinds.last)
          expect(ours[3..].find { |control| control.cmsg_is?(:IP, :PKTINFO) }.ip_pktinfo.first.ip_address)
            .to eq("127.0.0.1")
          ttl = Socket::AncillaryData.int(:INET, :IP, :TTL, 7)
          server.setsockopt(:IP, :RECVTTL, true)
          ring.sendmsg(client, "x", 0, server.local_address, ttl)
          found = ring.recvmsg(server, 9)[3..].find { |control| control.cmsg_is?(:IP, :TTL) }
          expect(found.int).to eq(7)
        end
      end

      it "wait, and lose nothing when they are interrupted" do
        everywhere do |ring|
          receiver, sender = unix_pair
          before = descriptors
          endings.each do |way|
            ended_by(way) { ring.recvmsg(receiver, 9) }
            ring.sendmsg(sender, way.to_s, 0, nil, Socket::AncillaryData.unix_rights($stdin))
            expect(ring.recvmsg(receiver, 99)[0]).to eq(way.to_s)
          end
          expect(raised { ring.recvmsg(receiver, 1, timeout: 0.001) }).to be_a(IO::TimeoutError)
          expect(descriptors).to eq(before)
        end
      end

      it "raise the errors of Ruby's methods" do
        everywhere do |ring|
          expect_same_errno(-> { ring.sendmsg(udp, "x") }, -> { udp.sendmsg("x") })
          expect_same_errno(-> { ring.sendmsg(udp, "x" * 70_000, 0, udp.local_address) },
                            -> { udp.sendmsg("x" * 70_000, 0, udp.local_address) })
          receiver, sender = unix_pair
          receiver.close
          expect(raised { ring.sendmsg(sender, "x") }).to be_a(Errno::EPIPE).and(have_attributes(message: /sendmsg/))
          expect(raised { ring.recvmsg(pipe.first, 1) }).to be_a(Errno::ENOTSOCK)
          expect(raised { ring.recvmsg(9999, 1) }).to be_a(Errno::EBADF)
          nonsense = Socket::AncillaryData.new(:UNIX, :SOCKET, :RIGHTS, [9999].pack("i"))
          expect(raised { ring.sendmsg(unix_pair.first, "x", 0, nil, nonsense) }).to be_a(Errno::EBADF)
        end
      end

      it "refuse invalid arguments" do
        everywhere do |ring|
          receiver, sender = unix_pair
          expect(raised { ring.sendmsg(sender, :symbol) }).to be_a(TypeError)
          expect(raised { ring.sendmsg(sender, "x", 0, nil, "control") }).to be_a(TypeError)
          expect(raised { ring.sendmsg(sender, "x", 0, 5) }).to be_a(TypeError)
          expect(raised { ring.sendmsg(sender, "x", 0, "x" * 200) }).to be_a(ArgumentError)
          expect(raised { ring.recvmsg(receiver, -1) }).to be_a(RangeError)
          expect(raised { ring.recvmsg(receiver, 1, controllen: -1) }).to be_a(RangeError)
          expect(raised { ring.recvmsg(receiver, 1, controllen: 1 << 30) }).to be_a(ArgumentError)
        end
      end
    end
  end
end
