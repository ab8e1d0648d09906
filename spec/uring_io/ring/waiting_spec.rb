# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |backend|
    describe "#nop" do
      it "does nothing" do
        everywhere { |ring| expect([ring.nop, ring.nop(timeout: 5)]).to eq([nil, nil]) }
      end
    end

    describe "#poll" do
      it "returns the events for which a descriptor is ready" do
        everywhere do |ring|
          one, other = unix_pair
          expect(ring.poll(one, IO::READABLE | IO::WRITABLE)).to eq(IO::WRITABLE)
          other.write("x")
          expect(ring.poll(one, IO::READABLE | IO::WRITABLE)).to eq(IO::READABLE | IO::WRITABLE)
          expect(ring.poll(one.fileno, IO::READABLE)).to eq(IO::READABLE)
          expect(ring.recv(one, 9)).to eq("x")
        end
      end

      it "waits until one of them happens" do
        scheduled do
          with_ring do |ring|
            one, other = unix_pair
            found = nil
            Fiber.schedule { found = ring.poll(one, IO::READABLE) }
            expect(found).to be_nil
            other.write("x")
            eventually { found }
            expect(found).to eq(IO::READABLE)
          end
        end
      end

      it "reports the end of the peer's output as readable" do
        everywhere do |ring|
          reader, writer = pipe
          writer.close
          expect(ring.poll(reader, IO::READABLE)).to eq(IO::READABLE)
        end
      end

      it "ends when its timeout passes, or when it is interrupted" do
        everywhere do |ring|
          one, = unix_pair
          expect(raised { ring.poll(one, IO::READABLE, timeout: 0.001) }).to be_a(IO::TimeoutError)
          endings.each { |way| expect(ended_by(way) { ring.poll(one, IO::READABLE) }).to be_a(IndexError).or be_nil }
        end
      end

      it "refuses no events, unknown events and closed descriptors" do
        everywhere do |ring|
          one, = unix_pair
          [0, 1 << 20].each { |events| expect(raised { ring.poll(one, events) }).to be_a(ArgumentError) }
          expect(raised { ring.poll(one, -1) }).to be_a(RangeError)
          expect(raised { ring.poll(one, "r") }).to be_a(TypeError)
          expect(raised { ring.poll(9999, IO::READABLE) }).to be_a(Errno::EBADF)
        end
      end
    end

    describe "#timeout" do
      it "waits for the given time" do
        everywhere do |ring|
          expect([ring.timeout(0.001), ring.timeout(0), ring.timeout(Rational(1, 1000))]).to eq([nil, nil, nil])
        end
      end

      it "lets other fibers run, and ends in the order of the deadlines", hurried: true do
        order = []
        scheduled do
          with_ring do |ring|
            [0.03, 0.01, 0.02].each do |seconds|
              Fiber.schedule { ring.timeout(patience(seconds)).then { order << seconds } }
            end
            order << :parked
          end
        end
        expect(order).to eq([:parked, 0.01, 0.02, 0.03])
      end

      it "ends when it is interrupted, and refuses invalid times" do
        everywhere do |ring|
          endings.each { |way| expect(ended_by(way) { ring.timeout(600) }).to be_a(IndexError).or be_nil }
          [-1, -0.1, Float::NAN].each do |seconds|
            expect(raised { ring.timeout(seconds) }).to be_a(ArgumentError).or be_a(RangeError)
          end
          ["x", nil, Time.now].each { |seconds| expect(raised { ring.timeout(seconds) }).to be_a(TypeError) }
        end
      end
    end

    describe "#waitid", needs: :waitid do
      # A child that runs the block.
      def child_process(&)
        fork do
          yield
        ensure
          exit!(99)
        end
      end

      it "returns how a child has ended, and reaps it" do
        everywhere do |ring|
          pid = child_process { exit!(7) }
          child = ring.waitid(:pid, pid)
          expect([child.pid, child.event, child.status, child.uid]).to eq([pid, :exited, 7, Process.uid])
          expect(raised { Process.wait(pid) }).to be_a(Errno::ECHILD)
        end
      end

      it "returns which signal has ended a child" do
        everywhere do |ring|
          pid = child_process { sleep }
          Process.kill(:KILL, pid)
          child = ring.waitid(:pid, pid)
          expect([child.event, child.status]).to eq([:killed, 9])
        end
      end

      it "leaves the child to Process.wait on demand" do
        everywhere do |ring|
          pid = child_process { exit!(3) }
          expect(ring.waitid(:pid, pid, reap: false).status).to eq(3)
          Process.wait(pid)
          expect($?.exitstatus).to eq(3)
        end
      end

      it "waits in a fiber while other fibers run" do
        scheduled do
          with_ring do |ring|
            reader, writer = pipe
            pid = child_process { reader.readpartial(1).then { exit!(5) } }
            child = nil
            Fiber.schedule { child = ring.waitid(:pid, pid) }
            expect(child).to be_nil
            writer.write("x")
            eventually { child }
            expect(child.status).to eq(5)
          end
        end
      end

      it "leaves the child alone when it is interrupted" do
        everywhere do |ring|
          pid = child_process { sleep }
          expect(raised { ring.waitid(:pid, pid, timeout: 0.001) }).to be_a(IO::TimeoutError)
          endings.each { |way| ended_by(way) { ring.waitid(:pid, pid) } }
          Process.kill(:KILL, pid)
          expect(ring.waitid(:pid, pid).event).to eq(:killed)
        end
      end

      it "raises Errno::ECHILD when there is no such child, and refuses invalid arguments" do
        everywhere do |ring|
          expect(raised { ring.waitid(:pid, Process.ppid) }).to be_a(Errno::ECHILD)
          expect(raised { ring.waitid(:nobody, 1) }).to be_a(ArgumentError).and(have_attributes(message: /:pgid/))
          expect(raised { ring.waitid(:pid, 1, events: :born) }).to be_a(ArgumentError)
          expect(raised { ring.waitid(:pid, "1") }).to be_a(TypeError)
          expect(raised { ring.waitid(:pid, -1) }).to be_a(RangeError)
        end
      end

      if backend == :io_uring
        it "waits for any child, for the children of a group, and for a stopped child" do
          everywhere do |ring|
            pid = child_process { sleep }
            Process.kill(:STOP, pid)
            expect(ring.waitid(:pid, pid, events: %i[stopped exited]).event).to eq(:stopped)
            Process.kill(:CONT, pid)
            expect(ring.waitid(:pid, pid, events: :continued).event).to eq(:continued)
            Process.kill(:KILL, pid)
            expect(ring.waitid(:all, events: :exited, reap: false).pid).to eq(pid)
            expect(ring.waitid(:pgid, Process.getpgrp).pid).to eq(pid)
          end
        end
      end
    end

    describe "#futex_wait and #futex_wake", needs: %i[futex_wait futex_wake] do
      if backend == :io_uring
        it "wait while a number has a value, until another call wakes them" do
          scheduled do
            with_ring do |ring|
              buffer = IO::Buffer.new(64)
              buffer.set_value(:u32, 4, 7)
              woken = []
              3.times { |number| Fiber.schedule { woken << [number, ring.futex_wait(buffer, 7, at: 4)] } }
              expect([woken, ring.futex_wait(buffer, 8, at: 4)]).to eq([[], false])
              expect(ring.futex_wake(buffer, 2, at: 4)).to eq(2)
              eventually { woken.size == 2 }
              expect([buffer.locked?, ring.futex_wake(buffer, 99, at: 4)]).to eq([true, 1])
              eventually { woken.size == 3 }
              expect(woken.map(&:last)).to eq([true] * 3)
              expect([buffer.locked?, ring.futex_wake(buffer, at: 4)]).to eq([false, 0])
            end
          end
        end

        it "wake across threads" do
          buffer = IO::Buffer.new(8)
          waiting = Thread.new { with_ring { |ring| ring.futex_wait(buffer, 0) } }
          with_ring { |ring| Thread.pass until ring.futex_wake(buffer) == 1 }
          expect(waiting.value).to be(true)
        end

        it "leave the buffer unlocked when they are interrupted" do
          everywhere do |ring|
            buffer = IO::Buffer.new(8)
            expect(raised { ring.futex_wait(buffer, 0, timeout: 0.001) }).to be_a(IO::TimeoutError)
            endings.each { |way| ended_by(way) { ring.futex_wait(buffer, 0) } }
            expect([buffer.locked?, ring.futex_wake(buffer)]).to eq([false, 0])
          end
        end
      else
        it "raise UnsupportedError on the other backends" do
          everywhere do |ring|
            buffer = IO::Buffer.new(8)
            expect(raised { ring.futex_wait(buffer, 0) }).to be_a(UringIO::UnsupportedError)
              .and(have_attributes(message: /futex/))
            expect(buffer.locked?).to be(false)
          end
        end
      end

      it "refuse a number outside of a buffer, or one that is no u32" do
        everywhere do |ring|
          buffer = IO::Buffer.new(8)
          [1, 6, 8, 1 << 62].each do |at|
            expect(raised { ring.futex_wait(buffer, 0, at:) }).to be_a(ArgumentError)
            expect(raised { ring.futex_wake(buffer, at:) }).to be_a(ArgumentError)
          end
          expect(raised { ring.futex_wait(buffer, 0, at: -4) }).to be_a(RangeError)
          expect(raised { ring.futex_wait(buffer, 1 << 32) }).to be_a(RangeError)
          expect(raised { ring.futex_wait(buffer, -1) }).to be_a(RangeError)
          expect(raised { ring.futex_wait("string", 0) }).to be_a(TypeError)
          expect(raised { ring.futex_wait(buffer.slice(0, 4), 0) }).to be_a(ArgumentError)
          expect(buffer.locked?).to be(false)
        end
      end
    end
  end
end
