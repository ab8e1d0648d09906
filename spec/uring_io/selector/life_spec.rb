# frozen_string_literal: true

RSpec.describe "UringIO::Selector, from .new to #close" do
  # The block's value, from a forked child that skips the parent's exit handlers.
  def in_child
    reader, writer = pipe
    pid = fork do
      writer.write(Marshal.dump(yield))
      writer.close
    rescue Exception => error # rubocop:disable Lint/RescueException
      writer.write(Marshal.dump("#{error.class}: #{error.message}"))
    ensure
      writer.close
      exit!(0)
    end
    writer.close
    Marshal.load(reader.read) # rubocop:disable Security/MarshalLoad
  ensure
    if pid
      Process.kill(:KILL, pid)
      Process.wait(pid)
    end
  end

  each_selector do
    it "returns the loop fiber that the program gave it" do
      selecting { |selector, loop| expect(selector.loop).to be(loop) }
    end

    it "needs a loop fiber" do
      expect { selector_class.new }.to raise_error(ArgumentError)
    end

    it "begins with an empty ready list and no waiting time" do
      selecting do |selector, _|
        expect(selector).not_to be_closed
        expect(selector).not_to be_ready
        expect(selector.idle_duration).to be_a(Float).and eq(0.0)
      end
    end

    it "also loops on a fiber that is not the thread's root fiber" do
      outcome = in_thread do
        loop = Fiber.new do
          selector = new_selector
          reader, writer = pipe
          seen = []
          waiter = Fiber.new do
            seen << wait_for(selector, reader, IO::READABLE)
            selector.transfer
          end
          waiter.transfer
          writer.write("x")
          run_until(selector) { seen.any? }
          selector.close
          seen
        end
        loop.resume
      end
      expect(outcome).to eq([IO::READABLE])
    end

    it "closes; close returns nil, and the program may call it again" do
      selecting do |selector, _|
        expect(selector.close).to be_nil
        expect(selector).to be_closed
        expect(selector.close).to be_nil
        expect(selector).to be_closed
      end
    end

    it "closes its descriptors at once, without waiting for the garbage collector" do
      GC.disable
      selecting do |_, loop|
        before = Leaks::State.open_descriptors.size
        selector = new_selector(loop)
        selector.select(0)
        selector.close
        expect(Leaks::State.open_descriptors.size).to eq(before)
      end
    ensure
      GC.enable
    end

    it "closes while entries are ready and fibers wait" do
      selecting do |selector, _|
        reader, = pipe
        started { wait_for(selector, reader, IO::READABLE) }
        selector.select(0)
        started { wait_for(selector, reader, IO::READABLE) }
        selector.push(parked(selector))
        expect(selector.close).to be_nil
      end
    end

    it "tolerates a late wakeup or push of another thread after close" do
      selecting do |selector, _|
        fiber = parked(selector)
        selector.close
        expect(selector.wakeup).to be(false)
        expect { selector.push(fiber) }.not_to raise_error
        expect { Thread.new { [selector.push(fiber), selector.wakeup] }.join }.not_to raise_error
      end
    end

    it "refuses select and waits after close" do
      selecting do |selector, _|
        reader, = pipe
        selector.close
        [0, 0.001, nil].each { |duration| expect(raised { selector.select(duration) }).to be_a(StandardError) }
        waiter = started { wait_for(selector, reader, IO::READABLE) }
        expect(waiter.error).to be_a(StandardError)
        expect(selector).to be_closed
      end
    end

    it "works when a program makes hundreds one after the other, or many at once" do
      selecting do |_, loop|
        300.times { new_selector(loop).close }
        selectors = Array.new(50) { new_selector(loop) }
        reader, writer = pipe
        waiters = selectors.map { |selector| started { wait_for(selector, reader, IO::READABLE) } }
        writer.write("x")
        selectors.each { |selector| run_what_can(selector) }
        expect(waiters.map(&:value)).to all(eq(IO::READABLE))
        selectors.each(&:close)
      end
    end

    describe "in a forked child" do
      it "is closed there, and stays open in the parent" do
        selecting do |selector, _|
          expect(in_child { selector.closed? }).to be(true)
          expect(selector).not_to be_closed
        end
      end

      it "leaves the parent's waits alone when the child closes and collects its copy" do
        selecting do |selector, _|
          reader, writer = pipe
          waiter = started { wait_for(selector, reader, IO::READABLE) }
          selector.select(0)
          copy_closed = in_child do
            selector.close
            selector = nil
            GC.start
            :closed
          end
          expect(copy_closed).to eq(:closed)
          run_what_can(selector)
          expect(waiter).not_to be_done
          writer.write("x")
          expect(finished(selector, waiter)).to eq(IO::READABLE)
        end
      end

      it "leaves the parent's waits alone when the child ends" do
        result = program(<<~RUBY)
          selector = SELECTOR.new(Fiber.current)
          reader, writer = IO.pipe
          result = nil
          fiber = Fiber.new { result = selector.io_wait(Fiber.current, reader, IO::READABLE) }
          fiber.transfer
          selector.select(0)
          Process.wait(fork { puts selector.closed? })
          puts $?.success?
          writer.write("x")
          selector.select(nil) until result
          puts result
          selector.close
        RUBY
        expect(result.stderr).to eq("")
        expect(result.stdout).to eq("true\ntrue\n1\n")
      end

      it "lets the child use a selector of its own" do
        selecting do |selector, _|
          reader, = pipe
          started { wait_for(selector, reader, IO::READABLE) }
          selector.select(0)
          events = in_child do
            other = new_selector
            input, output = IO.pipe
            waiter = started { wait_for(other, input, IO::READABLE) }
            output.write("x")
            finished(other, waiter).tap { other.close }
          end
          expect(events).to eq(IO::READABLE)
        end
      end
    end

    it "lets a program end without closing it, with fibers parked in it" do
      result = program(<<~RUBY)
        require "socket"
        selectors = Array.new(3) { SELECTOR.new(Fiber.current) }
        selectors.each do |selector|
          sockets = UNIXSocket.pair
          sockets.each { |io| Fiber.new { selector.io_wait(Fiber.current, io, IO::READABLE) }.transfer }
          Fiber.new { selector.io_read(Fiber.current, sockets[0], IO::Buffer.new(64), 1, 0) }.transfer
          selector.push(Fiber.new { })
          selector.select(0)
          selector.push(Fiber.new { })
        end
        puts "ends"
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("ends\n")
      expect(result.status).to be_success
    end
  end

  each_own_selector do
    it "raises ClosedError from every method that would wait, after close" do
      selecting do |selector, _|
        reader, writer = pipe
        buffer = IO::Buffer.new(8)
        selector.close
        expect { selector.select(0) }.to raise_error(UringIO::ClosedError)
        calls = { io_wait: [reader, IO::READABLE], io_read: [reader, buffer, *range(8)],
                  io_write: [writer, buffer, *range(8)], process_wait: [Process.pid, 0] }
        calls.each do |name, arguments|
          task = started { selector.public_send(name, Fiber.current, *arguments) }
          expect([name, task.error.class]).to eq([name, UringIO::ClosedError])
        end
      end
    end

    it "behaves in a forked child as after close, while push and wakeup do nothing" do
      selecting do |selector, _|
        fiber = parked(selector)
        answers = in_child do
          selector.push(fiber)
          [selector.wakeup, selector.close, raised { selector.select(0) }.class.name]
        end
        expect(answers).to eq([false, nil, "UringIO::ClosedError"])
        expect(selector).not_to be_ready
      end
    end
  end
end
