# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |backend|
    it "closes for good" do
      with_ring do |ring|
        expect([ring.backend, ring.closed?, ring.nop]).to eq([backend, false, nil])
        2.times { expect(ring.close).to be_nil }
        expect(ring.closed?).to be(true)
        [-> { ring.nop }, -> { ring.batch(&:nop) }, -> { ring.chain(&:nop) }, -> { ring.cancel($stdin) },
         -> { ring.accept_each(tcp_server) { nil } }, -> { ring.stats }, -> { ring.receive(timeout: 0) }].each do |call|
          expect(raised(&call)).to be_a(UringIO::ClosedError)
        end
      end
    end

    it "unlocks the buffers of calls that it can no longer make" do
      ring = described_class.new(backend:).tap(&:close)
      buffer = IO::Buffer.new(8)
      raised { ring.read($stdin, buffer) }
      raised { ring.batch { |calls| calls.read($stdin, buffer) } }
      raised { ring.chain { |steps| steps.read($stdin, buffer) } }
      raised { ring.readv($stdin, [buffer, buffer]) }
      expect(buffer.locked?).to be(false)
    end

    it "closes its descriptors, also when the garbage collector takes it" do
      before = descriptors
      20.times { described_class.new(backend:).close }
      expect(descriptors).to eq(before)
      20.times { described_class.new(backend:).nop }
      10.times { GC.start }
      expect(descriptors).to be < before + 20
    end

    it "belongs to its thread" do
      with_ring do |ring|
        [-> { ring.nop }, -> { ring.batch(&:nop) }, -> { ring.chain(&:nop) }, -> { ring.close }, -> { ring.stats },
         -> { ring.receive }, -> { ring.accept_each(0) { nil } }].each do |call|
          expect(Thread.new { raised(&call) }.value).to be_a(ThreadError)
        end
        buffer = IO::Buffer.new(8)
        Thread.new { raised { ring.read($stdin, buffer) } }.join
        expect([buffer.locked?, ring.nop, ring.closed?]).to eq([false, nil, false])
      end
    end

    it "is closed in a forked child, and goes on in its parent" do
      with_ring do |ring|
        file = closing(File.open(file_with("0123456789")))
        reader, writer = pipe
        child = fork do
          error = raised { ring.read(file, 4, offset: 0) }
          writer.write([ring.closed?, error.class, ring.close.inspect].join(" "))
          exit!(0)
        end
        Process.wait(child)
        expect(reader.read_nonblock(99)).to eq("true UringIO::ClosedError nil")
        expect(ring.read(file, 4, offset: 2)).to eq("2345")
      end
    end

    it "works in a forked child when the child makes a new one", needs: :direct_descriptors do
      with_ring do
        path = file_with("0123456789")
        reader, writer = pipe
        child = fork do
          with_ring do |ring|
            chained = ring.chain { |steps| steps.read(steps.open(path), 4) }
            writer.write([ring.stat(path).size, chained.last, ring.batch(&:nop).size].join(" "))
          end
          exit!(0)
        end
        Process.wait(child)
        expect(reader.read_nonblock(99)).to eq("10 0123 1")
      end
    end

    it "keeps its calls in flight when the process forks" do
      scheduled do
        with_ring do |ring|
          receiver, sender = unix_pair
          buffer = IO::Buffer.new(8)
          results = []
          Fiber.schedule { results << ring.recv(receiver, buffer) }
          Fiber.schedule { results << ring.chain { |steps| 2.times { steps.timeout(0.001) } } }
          Fiber.schedule { results << ring.batch { |calls| calls.recv(receiver, 0, timeout: 0.002) }.size }
          child = fork { exit!(0) }
          Process.wait(child)
          sender.write("parent")
          eventually { results.size == 3 }
          expect(results).to include([nil, nil], 1)
          expect(buffer.locked?).to be(false)
        end
      end
    end

    it "ends the calls of other fibers when it closes, or leaves them to the scheduler" do
      scheduled do
        receiver, sender = unix_pair
        ring = described_class.new(backend:)
        outcome = nil
        waiting = Fiber.schedule do
          outcome = ring.recv(receiver, 9)
        rescue UringIO::Error, SystemCallError => error
          outcome = error
        end
        ring.close
        sender.write("after")
        eventually { !waiting.alive? }
        expect(outcome).to eq("after").or be_a(UringIO::Error).or be_a(Errno::ECANCELED)
        expect(raised { ring.nop }).to be_a(UringIO::ClosedError)
      end
    end

    it "may close inside of a block of its own methods" do
      receiver, sender = unix_pair
      sender.write("x")
      with_ring do |ring|
        error = raised { ring.recv_each(receiver) { ring.close } }
        expect(error).to be_nil.or be_a(UringIO::ClosedError)
      end
      with_ring do |ring|
        path = free_path
        error = raised do
          ring.batch do |calls|
            calls.mkdir(path)
            ring.close
          end
        end
        expect([error.class, File.exist?(path)]).to eq([UringIO::ClosedError, false])
      end
      with_ring do |ring|
        buffer = IO::Buffer.new(8)
        error = raised do
          ring.chain do |steps|
            steps.read($stdin, buffer)
            ring.close
          end
        end
        expect([error.class, buffer.locked?]).to eq([UringIO::ClosedError, false])
      end
    end

    it "works in a scheduler's fiber and outside, one after the other" do
      path = file_with("12345")
      with_ring do |ring|
        sizes = [ring.stat(path).size]
        backend = self.backend
        UringIO.run(backend:) { sizes << ring.stat(path).size }
        sizes << ring.stat(path).size
        expect(sizes).to eq([5] * 3)
      end
    end

    it "ends a wait when the handler of a signal raises, and works afterwards" do
      receiver, sender = unix_pair
      with_ring do |ring|
        before = trap(:USR2) { raise IndexError, "from a signal" }
        waiting = Thread.current
        other = Thread.new do
          Thread.pass until waiting.status == "sleep"
          Process.kill(:USR2, Process.pid)
        end
        error = raised { ring.recv(receiver, 1) }
        other.join
        expect(error).to be_a(IndexError)
        sender.write("x")
        expect(ring.recv(receiver, 1)).to eq("x")
      ensure
        trap(:USR2, before || "DEFAULT")
      end
    end

    it "goes on waiting when the handler of a signal does not raise" do
      receiver, sender = unix_pair
      with_ring do |ring|
        before = trap(:USR2) { sender.write("from a signal") }
        waiting = Thread.current
        other = Thread.new do
          Thread.pass until waiting.status == "sleep"
          Process.kill(:USR2, Process.pid)
        end
        expect(ring.recv(receiver, 99)).to eq("from a signal")
        other.join
      ensure
        trap(:USR2, before || "DEFAULT")
      end
    end

    it "counts its completions and system calls" do
      with_ring do |ring|
        before = ring.stats
        path = file_with("x")
        5.times { ring.stat(path) }
        after = ring.stats
        expect(after.completions - before.completions).to be >= 5
        expect(after.system_calls).to eq(after.enters + after.direct_calls)
      end
    end
  end
end
