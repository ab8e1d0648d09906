# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    describe "#message and #receive" do
      # A thread that passes its ring to the block and ends with the block's value, and the ring.
      def on_another_thread
        rings = Thread::Queue.new
        thread = Thread.new do
          with_ring do |ring|
            rings << ring
            yield ring
          end
        end
        [thread, rings.pop]
      end

      it "pass objects in order" do
        everywhere do |ring|
          object = Object.new
          [object, nil, false, :four].each { |sent| expect(ring.message(ring, sent)).to be_nil }
          expect(Array.new(4) { ring.receive }).to eq([object, nil, false, :four])
        end
      end

      it "wake a waiting thread" do
        thread, other = on_another_thread(&:receive)
        with_ring do |ring|
          Thread.pass until thread.stop?
          ring.message(other, "hello")
          expect(thread.value).to eq("hello")
        end
      end

      it "wake a waiting fiber of the same scheduler, or of another thread's" do
        scheduled do
          with_ring do |ring|
            got = []
            Fiber.schedule { got << ring.receive }
            with_ring { |other| other.message(ring, :same) }
            eventually { got.size == 1 }
            Fiber.schedule { got << ring.receive }
            Thread.new { with_ring { |other| other.message(ring, :thread) } }.join
            eventually { got.size == 2 }
            backend = self.backend
            Fiber.schedule { got << ring.receive }
            Thread.new { UringIO.run(backend:) { with_ring { |other| other.message(ring, :fiber) } } }.join
            eventually { got.size == 3 }
            expect(got).to eq(%i[same thread fiber])
          end
        end
      end

      it "lose nothing with many senders and many receivers" do
        scheduled do
          with_ring do |ring|
            received = []
            receivers = Array.new(5) { Fiber.schedule { loop { received << ring.receive } } }
            senders = Array.new(4) do |sender|
              Thread.new { with_ring { |own| 100.times { |number| own.message(ring, [sender, number]) } } }
            end
            eventually { received.size == 400 }
            senders.each(&:join)
            receivers.each(&:kill)
            by_sender = received.group_by(&:first).sort.map { |_, sent| sent.map(&:last).sort }
            expect(by_sender).to eq([(0...100).to_a] * 4)
          end
        end
      end

      it "lose nothing between two threads that wait for each other" do
        thread, other = on_another_thread do |ring|
          200.times do
            reply_to, number = ring.receive
            ring.message(reply_to, number + 1)
          end
        end
        with_ring do |ring|
          answers = Array.new(200) do |number|
            ring.message(other, [ring, number])
            ring.receive
          end
          expect(answers).to eq((1..200).to_a)
        end
        thread.join
      end

      it "lose nothing when a receiver is interrupted or its timeout passes" do
        everywhere do |ring|
          endings.each do |way|
            expect(ended_by(way) { ring.receive }).to be_a(IndexError).or be_nil
            ring.message(ring, way)
            expect(ring.receive).to eq(way)
          end
          expect(raised { ring.receive(timeout: 0.001) }).to be_a(IO::TimeoutError)
          ring.message(ring, :later)
          expect(ring.receive(timeout: 0)).to eq(:later)
        end
      end

      it "pass a message to the next receiver when the woken one is killed at the same time" do
        scheduled do
          with_ring do |ring|
            got = []
            first = Fiber.schedule { got << [:first, ring.receive] }
            second = Fiber.schedule { got << [:second, ring.receive] }
            ring.message(ring, :message)
            first.kill
            eventually { got.any? }
            expect([got, second.alive?]).to eq([[%i[second message]], false])
          end
        end
      end

      it "keep objects alive that nothing else references" do
        with_ring do |ring|
          100.times { |number| ring.message(ring, "object #{number}") }
          GC.start
          GC.compact
          expect(Array.new(100) { ring.receive }).to eq(Array.new(100) { |number| "object #{number}" })
        end
      end

      it "refuse objects that are no ring, and closed rings" do
        everywhere do |ring|
          [nil, "ring", Object.new].each { |other| expect(raised { ring.message(other, 1) }).to be_a(TypeError) }
          closed = described_class.new(backend:).tap(&:close)
          expect(raised { ring.message(closed, 1) }).to be_a(UringIO::ClosedError)
          expect(raised { closed.message(ring, 1) }).to be_a(UringIO::ClosedError)
          expect(raised { closed.receive }).to be_a(UringIO::ClosedError)
          expect(raised { ring.receive(timeout: -1) }).to be_a(ArgumentError)
          expect(raised { ring.receive(timeout: "x") }).to be_a(TypeError)
          expect(raised { ring.message(described_class.allocate, 1) }).to be_a(UringIO::ClosedError)
        end
      end
    end
  end
end
