# frozen_string_literal: true

# rubocop:disable Lint/IncompatibleIoSelectWithFiberScheduler -- IO.select is what is examined here
RSpec.describe UringIO::Scheduler, "#io_select" do
  each_backend do |_backend|
    it "parks until one of several IOs is ready, and returns that one" do
      order = []
      scheduled do
        first, = pipe
        second, writer = pipe
        Fiber.schedule do
          order << :selects
          order << (IO.select([first, second]) == [[second], [], []])
        end
        order << :writes
        writer.write("x")
      end
      expect(order).to eq([:selects, :writes, true])
    end

    it "returns at once with all ready IOs, each in its array" do
      scheduled do
        socket, peer = unix_pair
        reader, writer = pipe
        peer.write("x")
        expect(IO.select([reader, socket], [socket, writer], [reader])).to eq([[socket], [socket, writer], []])
      end
    end

    it "returns nil when the timeout passes, and not earlier" do
      scheduled do
        reader, = pipe
        start = monotonic
        expect(IO.select([reader], nil, nil, 0.02)).to be_nil
        expect(monotonic - start).to be >= 0.02
      end
    end

    it "checks once for a timeout of zero" do
      scheduled do
        reader, writer = pipe
        expect(IO.select([reader], [], [], 0)).to be_nil
        writer.write("x")
        expect(IO.select([reader], [], [], 0)).to eq([[reader], [], []])
      end
    end

    it "sleeps when there are no IOs to watch" do
      order = []
      scheduled do
        Fiber.schedule do
          expect(IO.select(nil, nil, nil, 0.01)).to be_nil
          order << :selected
        end
        order << :other
        expect(IO.select([], [], [], 0)).to be_nil
      end
      expect(order).to eq(%i[other selected])
    end

    it "returns the very objects that it got, also those that convert with to_io" do
      scheduled do
        reader, writer = pipe
        wrapper = Struct.new(:to_io).new(reader)
        writer.write("x")
        readable, writable, = IO.select([wrapper], [writer])
        expect(readable.first).to equal(wrapper)
        expect(writable.first).to equal(writer)
      end
    end

    it "counts an IO as ready when Ruby's own buffer has input" do
      scheduled do
        reader, writer = pipe
        writer.write("first\nsecond\n")
        reader.gets
        expect(IO.select([reader])).to eq([[reader], [], []])
        expect(IO.select([reader], nil, nil, 0)).to eq([[reader], [], []])
      end
    end

    it "finds readable files, the end of input and urgent data" do
      scheduled do
        file = closing(File.open(file_with("content")))
        reader, writer = pipe
        writer.close
        expect(IO.select([file, reader], nil, nil, 1)).to eq([[file, reader], [], []])
        socket, peer = tcp_pair
        peer.send("!", Socket::MSG_OOB)
        expect(IO.select(nil, nil, [socket])).to eq([[], [], [socket]])
      end
    end

    it "wakes for a new connection and for room to write" do
      scheduled do
        server = tcp_server
        reader, writer = pipe
        size = fill(writer)
        seen = []
        Fiber.schedule { seen << (IO.select([server], nil, nil, 10) == [[server], [], []]) }
        Fiber.schedule { seen << (IO.select(nil, [writer], nil, 10) == [[], [writer], []]) }
        let_others_run
        expect(seen).to be_empty
        closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
        eventually { seen.size == 1 }
        reader.read(size)
        eventually { seen.size == 2 }
        expect(seen).to eq([true, true])
      end
    end

    it "waits for room even if the peer has stopped sending" do
      socket, peer = unix_pair
      reader, = pipe
      fill(socket)
      peer.close_write
      selected = scheduled do
        one = IO.select(nil, [socket], nil, 0.01)
        two = IO.select([reader], [socket], nil, 0.01)
        Fiber.schedule { drain(peer) }
        [one, two, IO.select([reader], [socket], nil)]
      end
      expect(selected).to eq([nil, nil, [[], [socket], []]])
    end

    it "watches the same IO twice, and from several fibers" do
      seen = []
      scheduled do
        reader, writer = pipe
        Fiber.schedule { seen << IO.select([reader, reader]).first.size }
        Fiber.schedule { seen << IO.select([reader]).first.size }
        writer.write("x")
      end
      expect(seen).to contain_exactly(1, 2).or contain_exactly(1, 1)
    end

    it "watches hundreds of IOs" do
      scheduled do
        pipes = Array.new(150) { pipe }
        Fiber.schedule { pipes[77].last.write("x") }
        expect(IO.select(pipes.map(&:first))).to eq([[pipes[77].first], [], []])
      end
    end

    it "leaves nothing behind when another fiber kills or raises into its fiber" do
      on_root do |scheduler|
        reader, writer = pipe
        error = selected = nil
        killed = Fiber.schedule { IO.select([reader]) }
        interrupted = Fiber.schedule { error = raised { IO.select([reader]) } }
        killed.kill
        interrupted.raise(IndexError, "from outside")
        expect([killed, interrupted].map(&:alive?)).to eq([false, false])
        expect(error).to be_a(IndexError)
        writer.write("x")
        Fiber.schedule { selected = IO.select([reader], nil, nil, 10) }
        scheduler.run
        expect(selected).to eq([[reader], [], []])
      end
    end

    it "ends when a timeout around it passes" do
      scheduled do
        reader, = pipe
        expect { Timeout.timeout(0.01) { IO.select([reader]) } }.to raise_error(Timeout::Error)
        expect { Timeout.timeout(0.01) { IO.select([reader], nil, nil, 60) } }.to raise_error(Timeout::Error)
      end
    end

    it "raises IOError when somebody closes one of its IOs, even if the descriptor already belongs to another file" do
      errors = []
      scheduled do
        reader, = pipe
        [[], [reader]].each do |others|
          closed, = pipe
          fiber = Fiber.schedule { errors << raised { IO.select([closed, *others], nil, nil, 0.01) } }
          closed.close
          unix_pair.each { |socket| socket.write("x") } # one of them gets the closed reader's number
          eventually { !fiber.alive? }
        end
      end
      expect(errors).to all(be_an(IOError))
      expect(errors.size).to eq(2)
    end

    it "refuses the arguments that IO.select refuses" do
      scheduled do
        reader, = pipe
        expect { IO.select(["reader"]) }.to raise_error(TypeError)
        expect { IO.select([nil]) }.to raise_error(TypeError)
        expect { IO.select(reader) }.to raise_error(TypeError)
        expect { IO.select([reader], nil, nil, -1) }.to raise_error(ArgumentError)
        expect { IO.select([reader], nil, nil, "1") }.to raise_error(TypeError)
        reader.close
        expect { IO.select([reader]) }.to raise_error(IOError)
      end
    end
  end
end
# rubocop:enable Lint/IncompatibleIoSelectWithFiberScheduler
