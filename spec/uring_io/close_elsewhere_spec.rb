# frozen_string_literal: true

require "socket"

# IOs that a program closes while no fiber waits on them, while a thread waits on them, or in code that cannot wait.
RSpec.describe "An IO that is closed elsewhere" do
  # An IO with something to read, which has the number of a closed IO.
  def taking(number)
    ours, peer = unix_pair
    peer.write("another's")
    ours.fileno == number ? ours : closing(IO.for_fd(ours.fcntl(Fcntl::F_DUPFD, number)))
  end

  each_backend do |_backend|
    it "makes a thread that waits in a system call on it raise, and close returns" do
      reader, = pipe
      thread = Thread.new { raised { reader.read(1) } }
      Thread.pass until thread.status == "sleep"
      scheduled { reader.close }
      expect(thread.value).to be_an(IOError)
    end

    it "by two schedulers during a receive leaves nobody waiting" do
      boxes = Array.new(2) { Thread::Queue.new }
      closer = lambda do |box|
        while (job = box.pop)
          job.first.close
          job.last << true
        end
      end
      threads = boxes.permutation.map do |own, others|
        Thread.new do
          UringIO.run(backend:) do
            Fiber.schedule { closer.call(own) }
            100.times do
              ours, peer = unix_pair
              Fiber.schedule { raised { ours.recv(10) } }
              peer.write("data")
              others << [ours, done = Thread::Queue.new]
              done.pop
            end
            others << nil
            :done
          end
        end
      end
      expect(threads.map(&:value)).to eq(%i[done done])
    end

    it "by a trap handler lets no other fiber run in the middle of the handler" do
      order = []
      before = trap("USR2") { nil }
      scheduled do
        reader, = pipe
        Fiber.schedule { order << raised { reader.readpartial(1) }.class }
        in_handler = false
        Fiber.schedule { order << :in_the_middle if 20.times.any? { sleep(0) && in_handler } }
        trap("USR2") do
          in_handler = true
          reader.close
          in_handler = false
        end
        Process.kill("USR2", Process.pid)
        eventually { order.any? }
      end
      expect(order).to eq([IOError])
    ensure
      trap("USR2", before)
    end

    it "before a batch is submitted is read by none of its calls" do
      scheduled do
        with_ring do |ring|
          ours, = unix_pair
          other, peer = unix_pair
          peer.write("read")
          results = ring.batch do |batch|
            batch.recv(ours, 10)
            batch.recv(other, 10)
            batch.stat(".")
            number = ours.fileno
            ours.close
            taking(number)
          end
          expect(results).to match([be_an(IOError), "read", be_a(UringIO::Ring::Status)])
        end
      end
    end

    it "before a chain is submitted prevents the chain" do
      scheduled do
        with_ring do |ring|
          ours, = unix_pair
          making = lambda do
            ring.chain do |chain|
              chain.recv(ours, 10)
              number = ours.fileno
              ours.close
              taking(number)
            end
          end
          expect(&making).to raise_error(IOError, /closed/)
        end
      end
    end

    it "before a chain reaches it breaks the chain at the step that waits" do
      scheduled do
        with_ring do |ring|
          ours, theirs = unix_pair
          later, their_later = unix_pair
          failure = nil
          waiting = Fiber.schedule do
            failure = raised do
              ring.chain do |chain|
                chain.recv(ours, 3)
                chain.fsync(pipe.last)
                chain.send(later, "for the former one")
              end
            end
          end
          number = later.fileno
          later.close
          taker, peer = unix_pair
          taker = closing(IO.for_fd(taker.fcntl(Fcntl::F_DUPFD, number))) unless taker.fileno == number
          theirs.write("abc")
          eventually { !waiting.alive? }
          expect(failure).to be_a(UringIO::ChainError).and have_attributes(cause: be_an(IOError))
          expect([taker.fileno, peer.read_nonblock(1, exception: false)]).to eq([number, :wait_readable])
          expect(their_later.read).to eq("")
        end
      end
    end

    it "is not confused with an IOError that somebody raises into the fiber of a chain" do
      scheduled do
        with_ring do |ring|
          ours, = unix_pair
          failure = nil
          fiber = Fiber.schedule { failure = raised { ring.chain { |chain| chain.recv(ours, 3) } } }
          let_others_run
          fiber.raise(IOError, "somebody's own")
          eventually { failure }
          expect(failure).to be_an(IOError).and have_attributes(message: "somebody's own")
        end
      end
    end

    it "by a thread, while the fibers' own thread computes, leaves alone the next file with its number" do
      sends, sets = Array.new(2) { tcp_pair.first }
      (other_sent, its_peer), (other_set,) = Array.new(2) { tcp_pair }
      others = { sends.fileno => other_sent, sets.fileno => other_set }
      clock = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
      scheduled do
        with_ring do |ring|
          # The fibers go on in the same turn, so the kernel gets their calls only when the last of them waits.
          gate = Thread::Queue.new
          calls = [-> { ring.chain { |chain| chain.send(sends, "for the former one") } },
                   -> { ring.setsockopt(sets, :SOCKET, :KEEPALIVE, true) }]
          calls.each { |call| Fiber.schedule { gate.pop || raised(&call) } }
          closers = nil
          Fiber.schedule do
            gate.pop
            closers = [sends, sets].map { |io| Thread.new { io.close } }
            # A close waits for a second at most for a thread that may itself be waiting for the closing one.
            late = clock.call + 1.5
            Thread.pass while closers.any?(&:alive?) && clock.call < late
            others.each { |number, other| closing(IO.for_fd(other.fcntl(Fcntl::F_DUPFD, number))) }
          end
          gate.close
          eventually { closers&.none?(&:alive?) }
        end
      end
      received = its_peer.read_nonblock(20, exception: false)
      expect([received, other_set.getsockopt(:SOCKET, :KEEPALIVE).bool]).to eq([:wait_readable, false])
    end

    it "during an IO.select of several IOs ends the select, even if another file has its number" do
      scheduled do
        quiet, = unix_pair
        ours, = unix_pair
        outcome = nil
        Fiber.schedule { outcome = raised { IO.select([quiet, ours]) } }
        number = ours.fileno
        ours.close
        expect(taking(number).fileno).to eq(number)
        let_others_run
        expect(outcome).to be_an(IOError)
      end
    end

    it "while wait_readable(0) lets other fibers run is not checked by its old number" do
      scheduled do
        reader, = pipe
        number = reader.fileno
        outcome = nil
        Fiber.schedule { sleep(0) && reader.close && taking(number) }
        Fiber.schedule { outcome = raised { outcome = reader.wait_readable(0) } || outcome }
        let_others_run
        expect(outcome).to be_nil.or be_an(IOError)
      end
    end

    it "in the block of a stream ends the stream, even if another file has its number" do
      scheduled do
        with_ring do |ring|
          ours, theirs = unix_pair
          theirs.write("its own")
          got = []
          reading = lambda do
            ring.recv_each(ours) do |bytes|
              got << bytes
              number = ours.fileno
              ours.close
              taking(number)
            end
          end
          expect(&reading).to raise_error(IOError)
          expect(got).to eq(["its own"])
        end
      end
    end

    # Closes an IO in a thread, in a block that gets the IO, while another thread uses it and computes. Yields until the
    # close waits. Returns the value of the block.
    def close_of_used_io(block)
      ours, = unix_pair
      scheduled do
        Fiber.schedule { raised { ours.readpartial(1) } }
        begun = false
        closer = Thread.new { block.call(-> { (begun = true) && ours.close }) }
        Thread.pass until begun && closer.stop?
        yield if block_given?
        closer.value
      end
    end

    it "while another thread uses it runs nothing of a selector that runs no loop" do
      ran = []
      entry = Object.new
      entry.define_singleton_method(:alive?) { true }
      entry.define_singleton_method(:transfer) { ran << self }
      close_of_used_io(lambda do |close|
        selector = UringIO::Selector.new(Fiber.current, backend:)
        selector.push(entry)
        close.call
        selector.close
      end)
      expect(ran).to be_empty
    end

    it "while another thread uses it leaves alone the loop fiber of a selector that runs no loop" do
      ran = []
      close_of_used_io(lambda do |close|
        scheduled do
          selector = UringIO::Selector.new(Fiber.new { ran << :loop }, backend:)
          close.call
          selector.close
        end
      end)
      expect(ran).to be_empty
    end

    it "while the garbage collector frees a selector of its thread does no harm" do
      closed = close_of_used_io(lambda do |close|
        # In a block, so that the thread's stack does not keep it.
        -> { UringIO::Selector.new(Fiber.current, backend:) && nil }.call
        close.call
        :closed
      end) { 10.times { GC.start } }
      expect(closed).to eq(:closed)
    end

    it "by a thread that has dropped the selector of its waiting fiber does no harm" do
      collects = true
      collector = Thread.new { (GC.start || sleep(0.001)) while collects }
      closed = Array.new(5) do
        Thread.new do
          ours, = unix_pair
          waiting = lambda do |selector|
            Fiber.new { raised { selector.io_wait(Fiber.current, ours, IO::READABLE) } }.transfer && nil
          end
          waiting.call(UringIO::Selector.new(Fiber.current, backend:))
          ours.close
          ours.closed?
        end.value
      end
      expect(closed).to all(be(true))
    ensure
      collects = false
      collector.join
    end

    it "while the garbage collector frees unused rings does no harm" do
      ours, = unix_pair
      outcome = nil
      scheduled do
        Fiber.schedule { outcome = raised { ours.readpartial(1) } }
        20.times { UringIO::Ring.new(backend:, entries: 1) }
        Thread.new do
          GC.stress = true
          ours.close
        ensure
          GC.stress = false
        end.join
      end
      expect(outcome).to be_an(IOError)
    end
  end
end
