# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#io_wait" do
  readable = IO::READABLE
  priority = IO::PRIORITY
  writable = IO::WRITABLE

  each_backend do |_backend|
    it "lets ready fibers run before it checks without waiting" do
      order = []
      scheduled do
        reader, writer = IO.pipe
        begun = Thread::Queue.new
        Fiber.schedule do
          begun.pop
          order << (reader.wait_readable(0) ? :ready : :empty)
        end
        Fiber.schedule do
          begun.pop
          writer.write("x")
          order << :written
        end
        2.times { begun << true }
        sleep(0.001) until order.size == 2
        [reader, writer].each(&:close)
      end
      expect(order).to eq(%i[written ready])
    end

    it "parks until the IO is readable, and returns the mask" do
      order = []
      scheduled do |scheduler|
        reader, writer = pipe
        Fiber.schedule do
          order << :waits
          order << scheduler.io_wait(reader, readable, nil)
        end
        order << :writes
        writer.write("x")
      end
      expect(order).to eq([:waits, :writes, readable])
    end

    it "parks until the IO is writable" do
      order = []
      scheduled do |scheduler|
        reader, writer = pipe
        size = fill(writer)
        Fiber.schedule do
          order << :waits
          order << scheduler.io_wait(writer, writable, nil)
        end
        order << :reads
        reader.read(size)
      end
      expect(order).to eq([:waits, :reads, writable])
    end

    it "returns only events that the caller waits for and that have happened" do
      scheduled do |scheduler|
        socket, peer = unix_pair
        expect(scheduler.io_wait(socket, readable | writable, nil)).to eq(writable)
        peer.write("x")
        expect(scheduler.io_wait(socket, readable, nil)).to eq(readable)
        expect(scheduler.io_wait(socket, writable, nil)).to eq(writable)
        expect(scheduler.io_wait(socket, readable | writable, nil)).to eq(readable | writable)
        expect(scheduler.io_wait(socket, readable | priority | writable, nil)).to eq(readable | writable)
      end
    end

    it "reports urgent data" do
      scheduled do |scheduler|
        socket, peer = tcp_pair
        expect(scheduler.io_wait(socket, priority, 0.01)).to be(false)
        peer.send("!", Socket::MSG_OOB)
        expect(scheduler.io_wait(socket, priority, nil)).to eq(priority)
      end
    end

    it "returns false when the timeout passes, and not earlier" do
      scheduled do |scheduler|
        reader, = pipe
        start = monotonic
        expect(scheduler.io_wait(reader, readable, 0.02)).to be(false)
        expect(monotonic - start).to be >= 0.02
        expect(reader.wait_readable(0.001)).to be_nil
      end
    end

    it "checks the IO once for a timeout of zero" do
      scheduled do |scheduler|
        socket, peer = unix_pair
        expect(scheduler.io_wait(socket, readable, 0)).to be(false)
        expect(scheduler.io_wait(socket, writable, 0)).to eq(writable)
        peer.write("x")
        expect(scheduler.io_wait(socket, readable, 0)).to eq(readable)
      end
    end

    it "leaves nothing behind when it times out: the next waits are right" do
      scheduled do |scheduler|
        reader, writer = pipe
        20.times do
          expect(scheduler.io_wait(reader, readable, 0)).to be(false)
          expect(scheduler.io_wait(reader, readable, 0.0001)).to be(false)
        end
        writer.write("x")
        expect(scheduler.io_wait(reader, readable, 1)).to eq(readable)
        reader.read(1)
        expect(scheduler.io_wait(reader, readable, 0)).to be(false)
      end
    end

    describe "IO#timeout" do
      it "applies when the caller gives no timeout: the waiting method raises IO::TimeoutError" do
        scheduled do
          socket, = unix_pair
          socket.timeout = 0.02
          start = monotonic
          expect { socket.recv(1) }.to raise_error(IO::TimeoutError, /readable/)
          expect(monotonic - start).to be >= 0.02
        end
      end

      it "makes the hook raise on Ruby 3.3 and return false from 3.4 on" do
        scheduled do |scheduler|
          reader, = pipe
          reader.timeout = 0.001
          wait = -> { scheduler.io_wait(reader, readable, nil) }
          if RUBY_VERSION < "3.4"
            expect(&wait).to raise_error(IO::TimeoutError, "Timed out waiting for IO to become readable!")
          else
            expect(wait.call).to be(false)
          end
        end
      end

      it "gives way to an explicit timeout" do
        scheduled do |scheduler|
          reader, writer = pipe
          reader.timeout = 0.001
          expect(scheduler.io_wait(reader, readable, 0.02)).to be(false)
          Fiber.schedule do
            sleep(0.02)
            writer.write("x")
          end
          expect(reader.wait_readable(10)).to be(reader)
        end
      end
    end

    describe "a hang-up" do
      it "makes a pipe's reader readable when the writer closes" do
        scheduled do |scheduler|
          reader, writer = pipe
          result = nil
          Fiber.schedule { result = scheduler.io_wait(reader, readable, nil) }
          writer.close
          eventually { result }
          expect(result).to eq(readable)
        end
      end

      it "makes a full pipe's writer writable when the reader closes" do
        scheduled do |scheduler|
          reader, writer = pipe
          fill(writer)
          result = nil
          Fiber.schedule { result = scheduler.io_wait(writer, writable, nil) }
          let_others_run
          expect(result).to be_nil
          reader.close
          eventually { result }
          expect(result & writable).to eq(writable)
          expect { writer.write("x") }.to raise_error(Errno::EPIPE)
        end
      end

      it "makes a socket readable when its peer closes" do
        scheduled do |scheduler|
          [unix_pair, tcp_pair].each do |socket, peer|
            result = nil
            Fiber.schedule { result = scheduler.io_wait(socket, readable, nil) }
            peer.close
            eventually { result }
            expect(result).to eq(readable)
            expect(socket.read).to eq("")
          end
        end
      end

      it "leaves a writer without room waiting when the peer only stops sending" do
        socket, peer = unix_pair
        fill(socket)
        order = []
        scheduled do |scheduler|
          Fiber.schedule { order << [:writer, scheduler.io_wait(socket, IO::WRITABLE, nil)] }
          peer.close_write
          order << [:reader, scheduler.io_wait(socket, IO::READABLE, nil)]
          order << [:writer, scheduler.io_wait(socket, IO::WRITABLE, 0.01)]
          let_others_run
          order << [:both, scheduler.io_wait(socket, IO::READABLE | IO::WRITABLE, nil)]
          drain(peer)
        end
        expect(order).to eq([[:reader, IO::READABLE], [:writer, false], [:both, IO::READABLE], [:writer, IO::WRITABLE]])
      end

      it "ends a wait for urgent data that can no longer come" do
        scheduled do |scheduler|
          reader, writer = pipe
          writer.close
          expect(scheduler.io_wait(reader, priority | readable, nil) & readable).to eq(readable)
        end
      end
    end

    it "finds regular files, directories and /dev/null ready at once" do
      scheduled do |scheduler|
        closing(File.open(file_with("content"))).then do |file|
          expect(scheduler.io_wait(file, readable, nil)).to eq(readable)
          expect(scheduler.io_wait(file, readable, 0)).to eq(readable)
        end
        file = closing(File.open(free_path, "w+"))
        expect(scheduler.io_wait(file, readable | writable, nil)).to eq(readable | writable)
        null = closing(File.open(File::NULL, "r+"))
        expect(scheduler.io_wait(null, readable, nil)).to eq(readable)
        expect(scheduler.io_wait(null, readable | writable, nil)).to eq(readable | writable)
        directory = closing(File.open("/"))
        expect(scheduler.io_wait(directory, readable, 1)).to eq(readable)
      end
    end

    it "wakes every fiber that waits for the same descriptor, for the same or other events" do
      woken = []
      scheduled do |scheduler|
        socket, peer = unix_pair
        fill(socket)
        3.times { |index| Fiber.schedule { woken << [:reader, index, scheduler.io_wait(socket, readable, nil)] } }
        2.times { |index| Fiber.schedule { woken << [:writer, index, scheduler.io_wait(socket, writable, nil)] } }
        let_others_run
        expect(woken).to be_empty
        peer.write("x")
        eventually { woken.size == 3 }
        expect(woken).to contain_exactly(*3.times.map { |index| [:reader, index, readable] })
        woken.clear
        loop { break if peer.read_nonblock(1_000_000, exception: false) == :wait_readable }
      end
      expect(woken).to contain_exactly(*2.times.map { |index| [:writer, index, writable] })
    end

    it "still wakes one fiber when another times out on the same descriptor" do
      scheduled do |scheduler|
        reader, writer = pipe
        result = nil
        Fiber.schedule { result = scheduler.io_wait(reader, readable, nil) }
        expect(scheduler.io_wait(reader, readable, 0.001)).to be(false)
        writer.write("x")
        eventually { result }
        expect(result).to eq(readable)
      end
    end

    it "does not confuse a closed descriptor with a new one of the same number" do
      scheduled do |scheduler|
        20.times do
          reader, writer = IO.pipe
          expect(scheduler.io_wait(reader, readable, 0)).to be(false)
          number = reader.fileno
          [reader, writer].each(&:close)
          reader, writer = IO.pipe
          expect([reader, writer].map(&:fileno)).to include(number)
          result = nil
          Fiber.schedule { result = scheduler.io_wait(reader, readable, nil) }
          let_others_run
          expect(result).to be_nil
          writer.write("x")
          eventually { result }
          [reader, writer].each(&:close)
        end
      end
    end

    it "waits for temporary IO objects of the same descriptor" do
      scheduled do |scheduler|
        reader, writer = pipe
        results = []
        Fiber.schedule { results << scheduler.io_wait(IO.for_fd(reader.fileno, autoclose: false), readable, nil) }
        Fiber.schedule { results << scheduler.io_wait(IO.for_fd(reader.fileno, autoclose: false), readable, nil) }
        GC.start
        writer.write("x")
        eventually { results.size == 2 }
        expect(results).to eq([readable, readable])
      end
    end

    it "parks accept until a client connects, and connect until the peer accepts or refuses" do
      scheduled do
        server = tcp_server
        port = server.local_address.ip_port
        order = []
        Fiber.schedule do
          order << :accepts
          server.accept.close
          order << :accepted
        end
        order << :connects
        closing(TCPSocket.new("127.0.0.1", port))
        eventually { order.last == :accepted }
        expect(order).to eq(%i[accepts connects accepted])
        server.close
        expect { TCPSocket.new("127.0.0.1", port) }.to raise_error(Errno::ECONNREFUSED)
      end
    end

    it "refuses a closed IO, an object that is no IO, and invalid events and timeouts" do
      scheduled do |scheduler|
        reader, writer = pipe
        expect { scheduler.io_wait(writer.tap(&:close), writable, nil) }.to raise_error(IOError, /closed/)
        expect { scheduler.io_wait("reader", readable, nil) }.to raise_error(TypeError)
        expect { scheduler.io_wait(nil, readable, nil) }.to raise_error(TypeError)
        [0, 8, 15, 64].each do |events|
          expect { scheduler.io_wait(reader, events, nil) }.to raise_error(ArgumentError, /events #{events}/)
        end
        expect { scheduler.io_wait(reader, "1", nil) }.to raise_error(TypeError)
        expect { scheduler.io_wait(reader, -1, nil) }.to raise_error(RangeError)
        expect { scheduler.io_wait(reader, 2**70, nil) }.to raise_error(RangeError)
        expect { scheduler.io_wait(reader, readable, -1) }.to raise_error(ArgumentError, /negative/)
        expect { scheduler.io_wait(reader, readable, "1") }.to raise_error(TypeError)
        expect(scheduler.io_wait(reader, readable, nil)).to eq(readable)
      end
    end
  end
end
