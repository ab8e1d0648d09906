# frozen_string_literal: true

RSpec.describe "UringIO::Selector#wakeup" do
  each_selector do
    it "returns false when no select waits, and in the fibers that select runs" do
      selecting do |selector, _|
        answers = [selector.wakeup]
        reader, writer = pipe
        waiter = started do
          wait_for(selector, reader, IO::READABLE)
          answers << selector.wakeup
        end
        selector.push(Fiber.new { answers << selector.wakeup })
        selector.select(0)
        writer.write("x")
        finished(selector, waiter)
        answers << selector.wakeup
        expect(answers).to eq([false] * 4)
      end
    end

    it "has no later effect: the next select waits in full" do
      selecting do |selector, _|
        selector.wakeup
        expect(selector.select(0.01)).to eq(0)
        expect(selector.idle_duration).to be >= 0.01
        Thread.new { selector.wakeup }.join
        expect(selector.select(0.01)).to eq(0)
        expect(selector.idle_duration).to be >= 0.01
      end
    end

    it "ends the wait of another thread, and then returns true" do
      selecting do |selector, _|
        [nil, 60, 60.5].each do |duration|
          answers = []
          while_calling(-> { answers << selector.wakeup }) do
            selector.select(duration) until answers.include?(true)
          end
        end
      end
    end

    it "leaves waiting fibers alone" do
      selecting do |selector, _|
        reader, writer = pipe
        waiter = started { wait_for(selector, reader, IO::READABLE) }
        woken = 0
        while_calling(-> { woken += 1 if selector.wakeup }) { run_until(selector) { woken >= 20 } }
        expect(waiter).not_to be_done
        writer.write("x")
        expect(finished(selector, waiter)).to eq(IO::READABLE)
      end
    end

    it "makes select run the fibers that another thread has pushed before" do
      selecting do |selector, _|
        seen = []
        fiber = parked(selector, seen)
        in_background do |looping|
          until_asleep(looping)
          selector.push(fiber)
          selector.wakeup
        end
        run_until(selector) { !seen.empty? }
        expect(seen).to eq([nil])
      end
    end

    it "is needed after a push of another thread: push alone does not end the wait" do
      selecting do |selector, _|
        seen = []
        fiber = parked(selector, seen)
        other = in_background do |looping|
          until_asleep(looping)
          selector.push(fiber)
        end
        expect(selector.select(0.05)).to eq(0)
        expect(selector.idle_duration).to be >= 0.05
        expect(seen).to eq([])
        other.join
        selector.select(nil)
        expect(seen).to eq([nil])
      end
    end

    it "loses none of thousands of fibers that another thread pushes at any time" do
      selecting do |selector, _|
        rounds = Thread::Queue.new
        turns = 0
        fiber = Fiber.new do
          loop do
            turns += 1
            rounds.push(turns)
            selector.transfer
          end
        end
        fiber.transfer
        other = in_background do
          2_000.times do
            rounds.pop
            selector.push(fiber)
            selector.wakeup
          end
        end
        run_until(selector) { turns > 2_000 }
        other.join
        expect(turns).to eq(2_001)
      end
    end

    it "works from many threads at once" do
      selecting do |selector, _|
        ran = 0
        item = Class.new do
          define_method(:alive?) { true }
          define_method(:transfer) { ran += 1 }
        end.new
        threads = Array.new(8) do
          in_background do
            200.times do
              selector.push(item)
              selector.wakeup
              Thread.pass
            end
          end
        end
        run_until(selector) { ran == 1_600 }
        threads.each(&:join)
        expect(ran).to eq(1_600)
      end
    end

    it "ends one wait, however often a thread called it meanwhile",
       io_event: { Select: "ends as many as there were calls" } do
      selecting do |selector, _|
        answers = []
        while_calling(-> { 10.times { answers << selector.wakeup } }) do
          run_until(selector) { answers.include?(true) }
        end
        slept = Array.new(3) { selector.select(0.01) && (selector.idle_duration >= 0.01) }
        expect(slept.last).to be(true)
      end
    end

    it "takes no lock that a killed thread could keep",
       io_event_hangs: { Select: "ends as many waits as there were calls" } do
      selecting do |selector, _|
        3.times do
          other = in_background { loop { selector.wakeup || Thread.pass } }
          selector.select(0.0001)
          other.kill.join
        end
        seen = []
        fiber = parked(selector, seen)
        in_background do |looping|
          until_asleep(looping)
          selector.push(fiber)
          selector.wakeup
        end
        run_until(selector) { !seen.empty? }
      end
    end

    it "works, as push does, in a thread with masked exceptions" do
      selecting do |selector, _|
        seen = []
        fiber = parked(selector, seen)
        other = in_background do |looping|
          Thread.handle_interrupt(RuntimeError => :never) do
            Thread.current.raise("pending")
            until_asleep(looping)
            selector.push(fiber)
            selector.wakeup
            seen << Thread.pending_interrupt?
          end
        rescue RuntimeError => error
          seen << error.message
        end
        run_until(selector) { seen.include?(nil) }
        other.join
        expect(seen).to contain_exactly(nil, true, "pending")
      end
    end
  end
end
