# frozen_string_literal: true

RSpec.describe "UringIO::Selector, interrupted" do
  # The value of the block, with +handler+ as the trap of the signal.
  def trapping(signal, handler)
    before = trap(signal) { handler.call }
    yield
  ensure
    trap(signal, before) if before
  end

  each_selector do
    let(:error) { Class.new(StandardError) }

    describe "with a pending exception of Thread#raise that is masked" do
      it "does not wait, whatever the duration, and returns 0" do
        selecting do |selector, _|
          results = []
          expect do
            Thread.handle_interrupt(error => :never) do
              Thread.current.raise(error, "pending")
              [nil, 60, 0.5, 0].each { |duration| results << selector.select(duration) }
              results << Thread.pending_interrupt?
            end
          end.to raise_error(error, "pending")
          expect(results).to eq([0, 0, 0, 0, true])
        end
      end

      it "ends a wait that has already begun, and returns 0" do
        selecting do |selector, _|
          reader, = pipe
          waiter = started { wait_for(selector, reader, IO::READABLE) }
          results = []
          expect do
            Thread.handle_interrupt(error => :never) do
              in_background do |looping|
                until_asleep(looping)
                looping.raise(error, "from outside")
              end
              results << selector.select(nil) until Thread.pending_interrupt?
            end
          end.to raise_error(error, "from outside")
          expect(results).to all(eq(0))
          expect(waiter).not_to be_done
        end
      end

      it "goes on serving ready entries and IO",
         io_event_hangs: { Select: "never looks at the IO" } do
        selecting do |selector, _|
          reader, writer = pipe
          order = []
          expect do
            Thread.handle_interrupt(error => :never) do
              Thread.current.raise(error)
              waiter = started { order << wait_for(selector, reader, IO::READABLE) }
              selector.push(Fiber.new { order << :ready })
              selector.select(nil)
              writer.write("x")
              finished(selector, waiter)
            end
          end.to raise_error(error)
          expect(order).to eq([:ready, IO::READABLE])
        end
      end

      it "waits again after Ruby has raised the exception" do
        selecting do |selector, _|
          raised do
            Thread.handle_interrupt(error => :never) do
              Thread.current.raise(error)
              selector.select(nil)
            end
          end
          expect(selector.select(0.01)).to eq(0)
          expect(selector.idle_duration).to be >= 0.01
        end
      end
    end

    describe "by Thread#raise" do
      it "raises the exception in the loop, and in no fiber" do
        selecting do |selector, _|
          reader, writer = pipe
          waiter = started { wait_for(selector, reader, IO::READABLE) }
          5.times do
            expect do
              in_background do |looping|
                until_asleep(looping)
                looping.raise(error, "from outside")
              end
              run_until(selector) { false }
            end.to raise_error(error, "from outside")
          end
          expect(waiter).not_to be_done
          writer.write("x")
          expect(finished(selector, waiter)).to eq(IO::READABLE)
        end
      end

      it "loses no waiting fiber, whenever the exception comes" do
        selecting do |selector, _|
          reader, writer = pipe
          waiter = started { wait_for(selector, reader, IO::READABLE) }
          [0, 0.0001, nil].cycle.first(30).each do |duration|
            other = nil
            failure = raised do
              other = in_background { |looping| looping.raise(error) }
              loop { selector.select(duration) }
            end
            expect(failure).to be_a(error)
            other.join
          end
          expect(waiter).not_to be_done
          writer.write("x")
          expect(finished(selector, waiter)).to eq(IO::READABLE)
        end
      end
    end

    it "ends with its thread by Thread#kill" do
      order = []
      looping = Thread.new do
        selector = new_selector
        order << :begins
        loop { selector.select(nil) }
      ensure
        order << :ends
        selector.close
      end
      Thread.pass until order.any?
      until_asleep(looping)
      looping.kill.join
      expect(order).to eq(%i[begins ends])
    end

    describe "by a signal" do
      it "runs the handler, which may push fibers and call wakeup" do
        selector = new_selector
        seen = []
        fiber = parked(selector, seen)
        handler = lambda do
          selector.push(fiber)
          selector.wakeup
        end
        trapping("USR1", handler) do
          other = in_background do |looping|
            until_asleep(looping)
            Process.kill(:USR1, Process.pid)
          end
          run_until(selector) { !seen.empty? }
          other.join
        end
        expect(seen).to eq([nil])
      ensure
        selector.close
      end

      it "lets the handler wake a selector of another thread" do
        seen = []
        selector = fiber = nil
        handler = lambda do
          selector.push(fiber)
          selector.wakeup
        end
        looping = Thread.new do
          selector = new_selector
          fiber = parked(selector, seen)
          run_until(selector) { !seen.empty? }
          selector.close
        end
        Thread.pass until fiber
        until_asleep(looping)
        trapping("USR1", handler) do
          Process.kill(:USR1, Process.pid)
          looping.join
        end
        expect(seen).to eq([nil])
      end

      it "raises no EINTR however many signals come, and loses no event" do
        selector = new_selector
        reader, writer = pipe
        handled = 0
        waiter = started { wait_for(selector, reader, IO::READABLE) }
        trapping("USR1", -> { handled += 1 }) do
          in_background do |looping|
            100.times do
              count = handled
              until_asleep(looping)
              Process.kill(:USR1, Process.pid)
              Thread.pass until handled > count
            end
            writer.write("x")
          end
          expect(finished(selector, waiter)).to eq(IO::READABLE)
        end
        expect(handled).to eq(100)
      ensure
        selector.close
      end

      it "raises in the loop an exception that the handler raises" do
        selector = new_selector
        reader, = pipe
        waiter = started { wait_for(selector, reader, IO::READABLE) }
        trapping("USR1", -> { raise error, "of the handler" }) do
          expect do
            in_background do |looping|
              until_asleep(looping)
              Process.kill(:USR1, Process.pid)
            end
            run_until(selector) { false }
          end.to raise_error(error, "of the handler")
        end
        expect(waiter).not_to be_done
      ensure
        selector.close
      end

      it "raises Interrupt and SignalException in the main program, as without a selector" do
        { INT: "Interrupt", TERM: "SignalException" }.each do |signal, expected|
          program(<<~RUBY) do |running|
            selector = SELECTOR.new(Fiber.current)
            reader, = IO.pipe
            Fiber.new { selector.io_wait(Fiber.current, reader, IO::READABLE) }.transfer
            begin
              puts "waits"
              selector.select(nil) while true
            rescue SignalException => error
              puts error.class
            ensure
              selector.close
            end
          RUBY
            expect(running.gets).to eq("waits\n")
            running.signal(signal)
            expect(running.gets).to eq("#{expected}\n")
            expect(running.finish.stderr).to eq("")
          end
        end
      end

      it "does not sleep while a masked signal is pending", io_event_hangs: { Select: "does" } do
        program(<<~RUBY) do |running|
          trap(:INT) { Thread.current.raise(Interrupt) }
          selector = SELECTOR.new(Fiber.current)
          reader, = IO.pipe
          Fiber.new { selector.io_wait(Fiber.current, reader, IO::READABLE) }.transfer
          begin
            Thread.handle_interrupt(SignalException => :never) do
              puts "waits"
              selector.select(nil) until Thread.pending_interrupt?
              puts "pending"
              puts selector.select(nil)
            end
          rescue Interrupt
            puts "raised"
          end
          selector.close
        RUBY
          expect(running.gets).to eq("waits\n")
          running.signal(:INT)
          expect(running.finish).to have_attributes(stdout: "pending\n0\nraised\n", stderr: "")
        end
      end

      it "goes on undisturbed when children end" do
        selecting do |selector, _|
          reader, writer = pipe
          waiter = started { wait_for(selector, reader, IO::READABLE) }
          Process.wait(spawn("exit 0"))
          expect(selector.select(0)).to eq(0)
          writer.write("x")
          expect(finished(selector, waiter)).to eq(IO::READABLE)
        end
      end
    end
  end

  each_own_selector do
    it "raises an exception that comes while it asks Ruby for pending ones" do
      error = Class.new(StandardError)
      selecting do |selector, _|
        # Ruby checks for exceptions of other threads whenever a method returns to a native one.
        raising = TracePoint.new(:c_return) { |point| raise error if point.method_id == :pending_interrupt? }
        raised = raised { raising.enable(target_thread: Thread.current) { selector.select(0.001) } }
        expect(raised).to be_a(error)
      end
    end

    it "wakes up for a masked exception that comes at the end of that question" do
      error = Class.new(StandardError)
      selecting do |selector, _|
        asked = 0
        raising = TracePoint.new(:c_return) do |point|
          # As a trap handler does there.
          Thread.current.raise(error) if point.method_id == :pending_interrupt? && (asked += 1) == 1
        end
        found = []
        raised = raised do
          Thread.handle_interrupt(error => :never) do
            found << raising.enable(target_thread: Thread.current) { selector.select(nil) }
          end
        end
        expect([found, raised]).to match([[0], an_instance_of(error)])
        expect(asked).to eq(2)
      end
    end
  end
end
