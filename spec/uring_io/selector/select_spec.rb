# frozen_string_literal: true

RSpec.describe "UringIO::Selector#select" do
  each_selector do
    describe "its duration" do
      it "of 0 makes it check for events without waiting" do
        selecting do |selector, _|
          [0, 0.0, -0.0, Rational(0)].each do |duration|
            expect(selector.select(duration)).to eq(0)
            expect(selector.idle_duration).to eq(0.0)
          end
        end
      end

      it "is the shortest time that it waits without events, as a Float or Rational" do
        selecting do |selector, _|
          [0.01, Rational(1, 100)].each do |duration|
            start = monotonic
            expect(selector.select(duration)).to eq(0)
            expect(monotonic - start).to be >= 0.01
          end
        end
      end

      it "is not rounded down to 0 below a millisecond" do
        selecting do |selector, _|
          [0.0002, 0.0009, Rational(3, 10_000)].each do |duration|
            expect(selector.select(duration)).to eq(0)
            expect(selector.idle_duration).to be >= duration
          end
        end
      end

      it "may be shorter than any clock can measure" do
        selecting do |selector, _|
          [1e-9, 1e-12, Float::MIN, Rational(1, 10**15)].each { |duration| expect(selector.select(duration)).to eq(0) }
        end
      end

      it "is only an upper bound: an event ends the wait" do
        [nil, 60, 60.5, Rational(121, 2), 10**10].each do |duration|
          selecting do |selector, loop_fiber|
            expect(loop_fiber).to be(Fiber.current)
            reader, writer = pipe
            waiter = started { wait_for(selector, reader, IO::READABLE) }
            selector.select(0)
            other = in_background { |looping| until_asleep(looping) || writer.write("x") }
            expect(selector.select(duration)).to be >= 1
            other.join
            expect(waiter.value).to eq(IO::READABLE)
          end
        end
      end

      it "is refused when it is invalid, and the selector goes on" do
        selecting do |selector, _|
          wrong = [-1, -0.001, Rational(-1, 3), -Float::INFINITY, Float::NAN, "1", :second, Object.new]
          wrong.each do |duration|
            error = raised { selector.select(duration) }
            expect(error).to be_a(StandardError), "#{duration} makes it #{error.inspect}"
          end
          seen = []
          selector.push(parked(selector, seen))
          expect(selector.select(0)).to eq(0)
          expect(seen).to eq([nil])
        end
      end
    end

    it "refuses an infinite duration, or waits without limit" do
      selecting do |selector, _|
        seen = []
        fiber = parked(selector, seen)
        in_background do |looping|
          until_asleep(looping)
          selector.push(fiber)
          selector.wakeup
        end
        error = raised { selector.select(Float::INFINITY) while seen.empty? }
        expect(error).to be_nil.or be_a(RangeError).or be_a(ArgumentError).or be_a(Errno::EINVAL)
        run_until(selector) { !seen.empty? }
      end
    end

    it "serves IO even while entries are always ready" do
      selecting do |selector, _|
        reader, writer = pipe
        started { loop { selector.yield } }
        waiter = started { wait_for(selector, reader, IO::READABLE) }
        writer.write("x")
        rounds = 0
        rounds += 1 while !waiter.done? && selector.select(nil) && rounds < 1_000
        expect(waiter.value).to eq(IO::READABLE)
      end
    end

    describe "its result" do
      it "is 0 when the time has passed, and when only ready entries ran" do
        selecting do |selector, _|
          reader, = pipe
          waiter = started { wait_for(selector, reader, IO::READABLE) }
          expect([selector.select(0), selector.select(0.001)]).to eq([0, 0])
          selector.push(parked(selector))
          expect(selector.select(nil)).to eq(0)
          expect(waiter).not_to be_done
        end
      end

      it "is 1 for one readable socket, even without waiting" do
        selecting do |selector, _|
          socket, peer = unix_pair
          peer.write("x")
          waiter = started { wait_for(selector, socket, IO::READABLE) }
          expect(selector.select(0)).to eq(1)
          expect(waiter.value).to eq(IO::READABLE)
        end
      end

      it "counts every event" do
        selecting do |selector, _|
          pairs = Array.new(5) { pipe }
          waiters = pairs.map { |reader, _| started { wait_for(selector, reader, IO::READABLE) } }
          selector.select(0)
          pairs.each { |_, writer| writer.write("x") }
          count = 0
          count += selector.select(nil) until waiters.all?(&:done?)
          expect(count).to be >= 5
        end
      end
    end

    describe "when it waits" do
      it "does not wait after a ready entry ran" do
        selecting do |selector, _|
          selector.push(parked(selector))
          expect(selector.select(nil)).to eq(0)
          expect(selector.idle_duration).to eq(0.0)
        end
      end

      it "does not wait after an entry ran that has pushed another" do
        selecting do |selector, _|
          order = []
          fiber = parked(selector, order)
          selector.push(Fiber.new { selector.push(fiber) })
          expect([selector.select(nil), order]).to eq([0, []])
          expect([selector.select(nil), order]).to eq([0, [nil]])
        end
      end

      it "checks the kernel even after a ready entry ran" do
        selecting do |selector, _|
          reader, writer = pipe
          order = []
          started { order << wait_for(selector, reader, IO::READABLE) }
          selector.select(0)
          writer.write("x")
          selector.push(Fiber.new { order << :ready })
          selector.select(nil)
          expect(order).to eq([:ready, IO::READABLE])
        end
      end

      it "waits for IO that a fiber has waited for since the turn before" do
        selecting do |selector, _|
          first, second = Array.new(2) { pipe }
          results = []
          selector.push(Fiber.new do
            results << wait_for(selector, first[0], IO::READABLE)
            results << wait_for(selector, second[0], IO::READABLE)
          end)
          expect(selector.select(nil)).to eq(0)
          other = in_background do |looping|
            [first, second].each do |_, writer|
              until_asleep(looping)
              count = results.size
              writer.write("x")
              Thread.pass until results.size > count
            end
          end
          run_until(selector) { results.size == 2 }
          other.join
          expect(results).to eq([IO::READABLE] * 2)
        end
      end

      it "does not wait during ten thousand turns with ready entries" do
        selecting do |selector, _|
          fiber = parked(selector)
          10_000.times do
            selector.push(fiber)
            selector.select(nil)
          end
          expect(selector.idle_duration).to eq(0.0)
        end
      end
    end

    describe "#idle_duration" do
      it "is the time that the last select waited" do
        selecting do |selector, _|
          start = monotonic
          selector.select(0.01)
          elapsed = monotonic - start
          expect(selector.idle_duration).to be_a(Float).and be_between(0.01, elapsed)
        end
      end

      it "begins at 0 with each select" do
        selecting do |selector, _|
          seen = []
          2.times do
            selector.select(0.001)
            expect(selector.idle_duration).to be > 0
            selector.push(Fiber.new { seen << selector.idle_duration })
            selector.select(nil)
            expect(selector.idle_duration).to eq(0.0)
          end
        end
      end

      it "is already 0 for the entries that select runs",
         io_event: { Select: "resets it after them" } do
        selecting do |selector, _|
          seen = []
          selector.select(0.001)
          selector.push(Fiber.new { seen << selector.idle_duration })
          selector.select(nil)
          expect(seen).to eq([0.0])
        end
      end

      it "includes a wait without limit", io_event: { Select: "measures limited waits only" } do
        selecting do |selector, _|
          reader, writer = pipe
          waiter = started { wait_for(selector, reader, IO::READABLE) }
          other = in_background { |looping| until_asleep(looping) || writer.write("x") }
          idle = 0.0
          until waiter.done?
            selector.select(nil)
            idle += selector.idle_duration
          end
          other.join
          expect(idle).to be > 0
        end
      end

      it "excludes the time that fibers run" do
        selecting do |selector, _|
          reader, writer = pipe
          seen = nil
          waiter = started do
            wait_for(selector, reader, IO::READABLE)
            seen = selector.idle_duration
            sleep(0.001)
          end
          selector.select(0)
          other = in_background { |looping| until_asleep(looping) || writer.write("x") }
          selector.select(60) until waiter.done?
          expect(selector.idle_duration).to eq(seen)
          other.join
        end
      end
    end

    describe "an exception of a fiber that select woke for its IO" do
      it "leaves select, and the next select serves the other fibers" do
        selecting do |selector, _|
          pairs = Array.new(4) { pipe }
          served = []
          pairs.each_with_index do |(reader, _), index|
            Fiber.new do
              wait_for(selector, reader, IO::READABLE)
              raise IndexError, "of #{index}" if index.odd?

              served << index
            end.transfer
          end
          selector.select(0)
          pairs.each { |_, writer| writer.write("x") }
          raised = []
          until raised.size + served.size == 4
            begin
              selector.select(nil)
            rescue IndexError => error
              raised << error.message
            end
          end
          expect(raised).to contain_exactly("of 1", "of 3")
          expect(served).to contain_exactly(0, 2)
        end
      end

      it "leaves others that wait for the same IO to the next select", io_event_hangs: { Select: "forgets them" } do
        selecting do |selector, _|
          reader, writer = pipe
          ended = []
          3.times do |index|
            Fiber.new do
              wait_for(selector, reader, IO::READABLE)
              ended << index
              raise IndexError
            end.transfer
          end
          selector.select(0)
          writer.write("x")
          raised { selector.select(nil) } until ended.size == 3
          expect(ended).to contain_exactly(0, 1, 2)
        end
      end
    end

    it "serves hundreds of fibers that pass bytes on" do
      selecting do |selector, _|
        pairs = Array.new(200) { pipe }
        passed = 0
        tasks = pairs.each_cons(2).map do |(input, _), (_, output)|
          started do
            wait_for(selector, input, IO::READABLE)
            output.syswrite(input.sysread(1))
            passed += 1
          end
        end
        pairs.first[1].syswrite("x")
        run_until(selector) { tasks.all?(&:done?) }
        expect(passed).to eq(199)
      end
    end
  end
end
