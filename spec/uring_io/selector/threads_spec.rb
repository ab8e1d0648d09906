# frozen_string_literal: true

RSpec.describe "UringIO::Selector, several of them" do
  each_selector do
    # Runs the block to its end, in a fiber of a new selector in a thread of its own.
    def in_selecting_thread
      in_background do
        selector = new_selector
        served(selector) { yield selector }
      ensure
        selector&.close
      end
    end

    describe "in several threads" do
      it "pass bytes to each other" do
        here, there = unix_pair
        players = [[here, 0], [there, 1]].map do |socket, first|
          in_selecting_thread do |selector|
            socket.syswrite("x") if first.zero?
            Array.new(300) do
              wait_for(selector, socket, IO::READABLE)
              socket.syswrite(socket.sysread(1))
            end.size
          end
        end
        expect(players.map(&:value)).to eq([300, 300])
      end

      it "watch the same descriptor" do
        reader, writer = pipe
        threads = Array.new(4) { in_selecting_thread { |selector| wait_for(selector, reader, IO::READABLE) } }
        threads.each { |thread| until_asleep(thread) }
        writer.write("x")
        expect(threads.map(&:value)).to all(eq(IO::READABLE))
      end

      it "wake each other" do
        selectors = []
        seen = Thread::Queue.new
        threads = Array.new(3) do |index|
          in_background do
            selector = new_selector
            fiber = Fiber.new { 20.times { seen << [index, selector.transfer] } }
            fiber.transfer
            selectors[index] = [selector, fiber]
            run_until(selector) { !fiber.alive? }
          ensure
            selector&.close
          end
        end
        Thread.pass until selectors.compact.size == 3
        20.times do
          selectors.each do |selector, fiber|
            selector.push(fiber)
            selector.wakeup
          end
          3.times { seen.pop }
        end
        threads.each(&:join)
        expect(seen).to be_empty
      end

      it "tell other threads whether they are ready or closed" do
        selecting do |selector, _|
          asked = -> { Thread.new { [selector.ready?, selector.closed?] }.value }
          expect(asked.call).to eq([false, false])
          selector.push(parked(selector))
          expect(asked.call).to eq([true, false])
          selector.close
          expect(asked.call.last).to be(true)
        end
      end

      it "tolerate push and wakeup after their thread has ended" do
        selector = fiber = nil
        Thread.new do
          selector = new_selector
          fiber = parked(selector)
        end.join
        expect { selector.push(fiber) }.not_to raise_error
        expect(selector.wakeup).to be(false)
      end
    end

    describe "on one thread" do
      it "watch the same descriptor, each for its own fibers" do
        selecting do |first, loop_fiber|
          second = new_selector(loop_fiber)
          reader, writer = pipe
          waiters = [first, second].map { |selector| started { wait_for(selector, reader, IO::READABLE) } }
          [first, second].each { |selector| run_what_can(selector) }
          writer.write("x")
          run_until(first) { waiters[0].done? }
          expect(waiters[1]).not_to be_done
          expect([waiters[0].value, finished(second, waiters[1])]).to eq([IO::READABLE] * 2)
        ensure
          second&.close
        end
      end

      it "run the fibers that were pushed to them, and no others" do
        selecting do |first, loop_fiber|
          second = new_selector(loop_fiber)
          order = []
          first.push(Fiber.new { order << :first })
          second.push(Fiber.new { order << :second })
          second.select(0)
          expect(order).to eq([:second])
          first.select(0)
          expect(order).to eq(%i[second first])
        ensure
          second&.close
        end
      end

      it "go on when the program closes one of them" do
        selecting do |first, loop_fiber|
          second = new_selector(loop_fiber)
          reader, writer = pipe
          gone = started { wait_for(second, reader, IO::READABLE) }
          stays = started { wait_for(first, reader, IO::READABLE) }
          [first, second].each { |selector| selector.select(0) }
          second.close
          run_what_can(first)
          expect(stays).not_to be_done
          writer.write("x")
          expect(finished(first, stays)).to eq(IO::READABLE)
          expect(gone.error || gone.done?).to be_a(StandardError).or be(true).or be(false)
        end
      end

      it "may each have a loop fiber of its own" do
        in_thread do
          outer = new_selector
          reader, writer = pipe
          order = []
          inner_loop = Fiber.new do
            inner = new_selector
            waiter = Fiber.new do
              order << wait_for(inner, reader, IO::READABLE)
              inner.transfer
            end
            waiter.transfer
            until order.include?(IO::READABLE)
              inner.select(0)
              outer.yield
            end
            inner.close
          end
          inner_loop.transfer
          outer.push(Fiber.new do
            order << :outer
            writer.write("x")
          end)
          run_until(outer) { !inner_loop.alive? }
          outer.close
          expect(order).to eq([:outer, IO::READABLE])
        end
      end
    end
  end

  each_own_selector do
    it "refuse calls of other threads, except push, wakeup, ready? and closed?" do
      selecting do |selector, _|
        reader, = pipe
        fiber = parked(selector)
        calls = { select: [0], transfer: [], yield: [], resume: [fiber], raise: [fiber, IndexError], close: [] }
        Thread.new do
          calls.each do |name, arguments|
            expect([name, raised { selector.public_send(name, *arguments) }.class]).to eq([name, ThreadError])
          end
          waits = { io_wait: [reader, IO::READABLE], io_read: [reader, IO::Buffer.new(8), 1, 0],
                    process_wait: [Process.pid, 0] }
          waits.each do |name, arguments|
            error = raised { selector.public_send(name, Fiber.current, *arguments) }
            expect([name, error.class]).to eq([name, ThreadError])
          end
        end.join
        expect(selector).not_to be_closed
        expect(fiber).to be_alive
      end
    end

    it "select on the loop fiber only" do
      selecting do |selector, _|
        task = started { selector.select(0) }
        expect(task.error).to be_a(FiberError).and have_attributes(message: /loop fiber/)
      end
    end

    it "let a fiber wait only for itself" do
      selecting do |selector, _|
        reader, = pipe
        other = parked(selector)
        task = started { selector.io_wait(other, reader, IO::READABLE) }
        expect(task.error).to be_an(ArgumentError)
      end
    end
  end
end
