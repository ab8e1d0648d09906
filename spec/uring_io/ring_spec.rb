# frozen_string_literal: true

require "pathname"

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    def with_ring(**)
      ring = described_class.new(backend:, **)
      yield ring
    ensure
      ring&.close
    end

    # The same without a scheduler, and in a fiber of one.
    def everywhere(**options, &)
      with_ring(**options, &)
      scheduled { with_ring(**options, &) }
    end

    # What the block raises when an exception comes while it waits.
    def ended(&)
      return raised { Timeout.timeout(0.02, IndexError, &) } if Fiber.current_scheduler

      waiting = Thread.current
      other = Thread.new do
        Thread.pass until waiting.status == "sleep"
        waiting.raise(IndexError)
      end
      raised(&).tap { other.join }
    end

    it "reads and writes as IO#pread, IO#pwrite, IO#sysread and IO#syswrite do" do
      everywhere do |ring|
        file = closing(File.open(file_with("0123456789"), "r+"))
        expect(ring.read(file, 4, offset: 3)).to eq(file.pread(4, 3))
        expect(ring.read(file, 100, offset: 8)).to eq("89")
        expect(ring.read(file, 1, offset: 10)).to be_nil
        expect([ring.read(file, 2), ring.read(file, 2)]).to eq(%w[01 23])
        expect(ring.write(file, "ab", offset: 1)).to eq(2)
        expect(ring.write(file.fileno, "xy")).to eq(2)
        expect(File.binread(file.path)).to eq("0ab3xy6789")
        expect(ring.read(file, 0)).to eq("")
      end
    end

    it "opens files in Ruby's modes and closes their descriptors" do
      everywhere do |ring|
        path = free_path
        descriptor = ring.open(path, "w", 0o600)
        expect(IO.for_fd(descriptor, autoclose: false).close_on_exec?).to be(true)
        ring.write(descriptor, "one")
        expect(ring.close_descriptor(descriptor)).to be_nil
        expect(raised { ring.close_descriptor(9999) }).to be_a(Errno::EBADF)
        expect([File.read(path), File.stat(path).mode & 0o777]).to eq(["one", 0o600])
        appending = ring.open(Pathname(path), "a")
        ring.write(appending, "two")
        ring.close_descriptor(appending)
        expect(File.read(path)).to eq("onetwo")
        expect(raised { ring.open(path, "wx") }).to be_a(Errno::EEXIST)
        Dir.open(File.dirname(path)) do |directory|
          inside = ring.open(File.basename(path), dir: directory.fileno)
          expect(ring.read(inside, 9)).to eq("onetwo")
          ring.close_descriptor(inside)
        end
      end
    end

    it "tells of files what File.stat and File.lstat do" do
      everywhere do |ring|
        path = file_with("12345")
        File.symlink(path, link = free_path)
        told = ring.stat(path)
        known = File.stat(path)
        %i[ino mode nlink uid gid size blocks blksize mtime ctime dev_major file? directory? symlink?].each do |name|
          expect([name, told.public_send(name)]).to eq([name, known.public_send(name)])
        end
        expect([ring.stat(link).size, ring.stat(link, follow: false).symlink?]).to eq([5, true])
        File.open(path) { |file| expect(ring.stat(file).size).to eq(5) }
        expect(ring.stat(File.dirname(path)).directory?).to be(true)
      end
    end

    it "makes, renames, links and removes names" do
      everywhere do |ring|
        from = file_with("x")
        to, link, symlink, directory = Array.new(4) { free_path }
        ring.rename(from, to)
        ring.link(to, link)
        ring.symlink(to, symlink)
        ring.mkdir(directory, 0o700)
        expect([File.exist?(from), File.read(link), File.readlink(symlink)]).to eq([false, "x", to])
        expect(File.stat(directory).mode & 0o777).to eq(0o700)
        [to, link, symlink].each { |path| ring.unlink(path) }
        ring.rmdir(directory)
        expect([to, link, symlink, directory].select { |path| File.symlink?(path) || File.exist?(path) }).to eq([])
      end
    end

    it "sets the length of files, and passes them on to the disk" do
      everywhere do |ring|
        file = closing(File.open(file_with("12345"), "r+"))
        ring.ftruncate(file, 2)
        expect(File.read(file.path)).to eq("12")
        ring.fallocate(file, 100)
        expect(file.size).to eq(100)
        expect([ring.fsync(file), ring.fdatasync(file), ring.fadvise(file, :dontneed)]).to eq([nil, nil, nil])
      end
    end

    it "splices and tees between pipes" do
      everywhere do |ring|
        file = closing(File.open(file_with("0123456789")))
        reader, writer = pipe
        other_reader, other_writer = pipe
        expect(ring.splice(file, writer, 4, from_offset: 2)).to eq(4)
        expect(ring.tee(reader, other_writer, 4)).to eq(4)
        expect([reader.read_nonblock(9), other_reader.read_nonblock(9)]).to eq(%w[2345 2345])
      end
    end

    it "connects, accepts, sends, receives and shuts down" do
      everywhere do |ring|
        server = tcp_server
        client = ring.socket(:INET, :STREAM)
        ring.connect(client, server.local_address)
        accepted = ring.accept(server)
        expect(ring.send(client, "ping")).to eq(4)
        expect(ring.recv(accepted, 9)).to eq("ping")
        ring.shutdown(client, :WR)
        expect(ring.recv(accepted, 9)).to be_nil
        [client, accepted].each { |descriptor| ring.close_descriptor(descriptor) }
      end
    end

    it "waits for what comes later, in a fiber while others run" do
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

    it "raises the Errno of the system call, named" do
      everywhere do |ring|
        expect(raised { ring.open(free_path) }).to be_a(Errno::ENOENT).and(have_attributes(message: /openat/))
        expect(raised { ring.stat(free_path) }).to be_a(Errno::ENOENT).and(have_attributes(message: /statx/))
        expect(raised { ring.mkdir("/") }).to be_a(Errno::EEXIST)
        expect(raised { ring.read(9999, 1, offset: 0) }).to be_a(Errno::EBADF)
      end
    end

    it "ends an operation when its timeout passes" do
      everywhere do |ring|
        receiver, sender = unix_pair
        expect(raised { ring.recv(receiver, 1, timeout: 0.01) }).to be_a(IO::TimeoutError)
        sender.write("x")
        expect(ring.recv(receiver, 1, timeout: 10)).to eq("x")
      end
    end

    it "ends an operation that is raised into" do
      receiver, sender = unix_pair
      scheduled do
        with_ring do |ring|
          fiber = Fiber.schedule { raised { ring.recv(receiver, 1) } }
          fiber.raise(IndexError)
          sender.write("x")
          expect(ring.recv(receiver, 1)).to eq("x")
        end
      end
      everywhere do |ring|
        expect(ended { ring.recv(receiver, 1) }).to be_a(IndexError)
        sender.write("y")
        expect(ring.recv(receiver, 1)).to eq("y")
      end
    end

    describe "#batch" do
      it "returns the results in the order of the calls, and failures as exceptions" do
        everywhere do |ring|
          path = file_with("12345")
          missing = free_path
          results = ring.batch do |calls|
            expect(calls.stat(path)).to eq(0)
            expect(calls.stat(missing)).to eq(1)
            calls.nop
          end
          expect([results[0].size, results[1].class, results[2]]).to eq([5, Errno::ENOENT, nil])
          expect(raised { ring.batch! { |calls| calls.stat(missing) } }).to be_a(Errno::ENOENT)
          expect(ring.batch { |calls| calls }).to eq([])
        end
      end

      it "makes the calls at the same time" do
        everywhere do |ring|
          first, second = Array.new(2) { unix_pair }
          results = ring.batch do |calls|
            calls.recv(first[0], 9)
            calls.send(first[1], "one")
            calls.recv(second[0], 9)
            calls.send(second[1], "two")
          end
          expect(results).to eq(["one", 3, "two", 3])
        end
      end

      it "takes more calls than the ring has entries" do
        path = file_with("12345")
        everywhere(entries: 4) do |ring|
          expect(ring.batch! { |calls| 100.times { calls.stat(path) } }.map(&:size)).to eq([5] * 100)
        end
      end

      it "closes what its calls opened when it is ended" do
        path = file_with("x")
        receiver, = unix_pair
        everywhere do |ring|
          before = Dir.children("/proc/self/fd").size
          error = ended do
            ring.batch do |calls|
              10.times { calls.open(path) }
              calls.recv(receiver, 1)
            end
          end
          expect(error).to be_a(IndexError)
          expect(Dir.children("/proc/self/fd").size).to eq(before)
        end
      end
    end

    it "refuses what makes no sense" do
      path = file_with("x")
      closed = File.open(path).tap(&:close)
      everywhere do |ring|
        {
          ArgumentError => [-> { ring.stat("a\0b") }, -> { ring.open(path, "q") },
                            -> { ring.fadvise($stdin, :quickly) },
                            -> { ring.connect($stdin, "x" * 200) }, -> { ring.nop(timeout: -1) },
                            -> { ring.read($stdin, 1 << 40) }, -> { ring.socket(:NOWHERE) }],
          TypeError => [-> { ring.read(path, 1) }, -> { ring.write($stdout, :symbol) }, -> { ring.mkdir(nil) },
                        -> { ring.close_descriptor($stdin) }],
          RangeError => [-> { ring.read($stdin, -1) }, -> { ring.read($stdin, 1, offset: -1) }],
          IOError => [-> { ring.read(closed, 1) }]
        }.each { |error, calls| calls.each { |call| expect(raised(&call)).to be_a(error) } }
      end
    end

    it "is closed for good, and in a forked child, and belongs to its thread" do
      with_ring do |ring|
        expect(Thread.new { raised { ring.nop } }.value).to be_a(ThreadError)
        expect(closed_in_child?(ring)).to be(true)
        expect(ring.nop).to be_nil
        2.times { ring.close }
        expect([ring.closed?, raised { ring.nop }.class]).to eq([true, UringIO::ClosedError])
      end
    end

    def closed_in_child?(ring)
      reader, writer = pipe
      child = fork do
        writer.write(ring.closed?.to_s)
        exit!(0)
      end
      Process.wait(child)
      reader.read_nonblock(9) == "true"
    end
  end

  each_backend(only: [:io_uring]) do
    it "submits a batch, and waits for it, in one system call" do
      ring = described_class.new(backend:)
      before = ring.stats
      ring.batch { |calls| 100.times { calls.nop } }
      after = ring.stats
      ring.close
      expect(after.enters - before.enters).to eq(1)
      # The ring has one entry of its own, by which it can be woken.
      expect(after.submissions - before.submissions).to be_between(100, 101)
    end
  end
end
