# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#fiber" do
  each_backend do |backend|
    it "runs the fiber at once, up to its first park" do
      order = []
      scheduled do
        Fiber.schedule do
          order << :begins
          sleep(0)
          order << :goes_on
        end
        order << :caller
      end
      expect(order).to eq(%i[begins caller goes_on])
    end

    it "gives control back to the caller of a nested Fiber.schedule" do
      order = []
      scheduled do
        Fiber.schedule do
          order << :outer
          Fiber.schedule do
            order << :inner
            sleep(0)
            order << :inner_end
          end
          order << :outer_goes_on
          sleep(0)
          order << :outer_end
        end
        order << :caller
      end
      expect(order.first(4)).to eq(%i[outer inner outer_goes_on caller])
      expect(order.last(2)).to eq(%i[inner_end outer_end])
    end

    # An accept loop does this while clients connect without end: accept never waits then.
    it "lets other fibers run while one fiber keeps starting new ones" do
      reader, writer = pipe
      came = nil
      started = 0
      scheduled do
        Fiber.schedule { came = reader.readpartial(1) }
        until came || started == 1_000
          Fiber.schedule do
            writer.write("x") if (started += 1) == 3
            started_at = monotonic
            nil until monotonic - started_at > 0.001
          end
        end
      end
      expect(came).to eq("x")
      expect(started).to be <= 500
    end

    # All that start within 5 ms, and the first few in any case.
    it "starts all new fibers before any of them goes on after its first wait", hurried: true do
      order = []
      scheduled { 64.times { |number| Fiber.schedule { (order << number) && sleep(0) && (order << -number) } } }
      together = ENV.key?("URING_IO_SPEC_LIMIT") ? 8 : 64
      expect(order.first(together)).to eq([*0...together])
    end

    it "collects fibers that have ended when there is no room for another stack" do
      result = child(<<~RUBY, backend, env: { "RUBY_FIBER_MACHINE_STACK_SIZE" => (16 << 20).to_s })
        GC.start
        UringIO.run(backend: ARGV[0].to_sym) do
          used = File.read("/proc/self/status")[/^VmSize:\\s+(\\d+)/, 1].to_i * 1024
          Process.setrlimit(:AS, used + (800 << 20))
          200.times { Fiber.schedule { sleep(0) } && sleep(0) }
          puts "ends"
        end
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("ends\n")
    end

    it "keeps the other fibers running when there is no room for another fiber" do
      result = child(<<~RUBY, backend, env: { "RUBY_FIBER_MACHINE_STACK_SIZE" => (16 << 20).to_s })
        UringIO.run(backend: ARGV[0].to_sym) do
          used = File.read("/proc/self/status")[/^VmSize:\\s+(\\d+)/, 1].to_i * 1024
          Process.setrlimit(:AS, used + (800 << 20))
          queue = Thread::Queue.new
          fibers = []
          begin
            200.times { fibers << Fiber.schedule { queue.pop } }
          rescue FiberError => error
            puts error.class
          end
          fibers.size.times { queue << true }
          sleep(0)
          puts fibers.any?, fibers.none?(&:alive?)
        end
        puts "ends"
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("FiberError\ntrue\ntrue\nends\n")
    end

    it "returns the fiber, which is non-blocking, alive while it waits and dead afterwards" do
      scheduled do
        queue = Thread::Queue.new
        blocking = nil
        fiber = Fiber.schedule do
          blocking = Fiber.current.blocking?
          queue.pop
        end
        expect(fiber).to be_a(Fiber)
        expect(blocking).to be(false)
        expect(fiber).to be_alive
        queue << :go
        let_others_run
        expect(fiber).not_to be_alive
      end
    end

    it "runs a fiber that never parks to its end before it returns" do
      scheduled { expect(Fiber.schedule { :done }).not_to be_alive }
    end

    it "passes arguments and keywords to the block" do
      scheduled do |scheduler|
        seen = nil
        scheduler.fiber(1, [2], key: 3) { |*arguments, **keywords| seen = [arguments, keywords] }
        expect(seen).to eq([[1, [2]], { key: 3 }])
        scheduler.fiber({ "a" => 1 }) { |*arguments, **keywords| seen = [arguments, keywords] }
        expect(seen).to eq([[{ "a" => 1 }], {}])
      end
    end

    it "starts fibers from the thread's blocking root fiber too" do
      order = []
      in_thread do
        Fiber.set_scheduler(new_scheduler)
        Fiber.schedule do
          order << :fiber
          sleep(0)
          order << :fiber_end
        end
        order << :root
      end
      expect(order).to eq(%i[fiber root fiber_end])
    end

    it "gives each fiber a copy of its parent's storage" do
      seen = []
      scheduled do
        Fiber[:uring_io_spec] = :parent
        Fiber.schedule do
          seen << Fiber[:uring_io_spec]
          Fiber[:uring_io_spec] = :child
        end
        seen << Fiber[:uring_io_spec]
      end
      expect(seen).to eq(%i[parent parent])
    end

    it "runs thousands of fibers, each through several parks" do
      count = 0
      scheduled do
        2_000.times { Fiber.schedule { 3.times { count += 1 if sleep(0) } } }
      end
      expect(count).to eq(6_000)
    end

    it "needs a block" do
      scheduled { |scheduler| expect { scheduler.fiber }.to raise_error(ArgumentError, /block/) }
    end

    describe "when a fiber raises" do
      it "reports the exception on stderr as Ruby does for a thread, and the other fibers go on" do
        order = []
        expect do
          scheduled do
            Fiber.schedule { raise IndexError, "first" }
            Fiber.schedule do
              sleep(0)
              raise KeyError, "second"
            end
            Fiber.schedule do
              3.times { sleep(0) }
              order << :other
            end
            order << :caller
          end
        end.to output(/#<Fiber:.*terminated with exception \(report_on_exception is true\):\n.*first.*IndexError.*
                       #<Fiber:.*terminated\ with\ exception.*second.*KeyError/mx).to_stderr
        expect(order).to eq(%i[caller other])
      end

      it "reports nothing when the thread does not report exceptions" do
        ended = false
        scheduled do
          Thread.current.report_on_exception = false
          Fiber.schedule { raise "unreported" }
          ended = true
        end
        expect(ended).to be(true)
      end

      it "ends a thread that aborts on exceptions" do
        expect do
          scheduled do
            Thread.current.report_on_exception = false
            Thread.current.abort_on_exception = true
            Fiber.schedule do
              sleep(0)
              raise IndexError, "fatal"
            end
            sleep
          end
        end.to raise_error(IndexError, "fatal")
      end

      it "handles an uncaught throw, a break out of the block and too deep a recursion" do
        recursion = ->(depth) { recursion.call(depth + 1) + 1 }
        block_that_breaks = proc { break }
        others = 0
        expect do
          scheduled do
            Fiber.schedule { throw :nowhere }
            others += 1
            Fiber.schedule(&block_that_breaks)
            others += 1
            Fiber.schedule { recursion.call(0) }
            others += 1
          end
        end.to output(include("UncaughtThrowError", "LocalJumpError", "SystemStackError")).to_stderr
        expect(others).to eq(3)
      end

      it "runs the fiber's ensure blocks, which may park" do
        order = []
        expect do
          scheduled do
            Fiber.schedule do
              sleep(0)
              raise "dies"
            ensure
              order << :ensure
              sleep(0)
              order << :after_park
            end
          end
        end.to output(/dies/).to_stderr
        expect(order).to eq(%i[ensure after_park])
      end
    end

    describe "exit in a fiber" do
      it "ends the program with that status, and the ensure blocks of the other fibers run" do
        result = child(<<~RUBY, backend)
          UringIO.run(backend: ARGV[0].to_sym) do
            Fiber.schedule { sleep }#{' '}
            Fiber.schedule do
              begin
                sleep
              ensure
                puts "ensure"
              end
            end
            Fiber.schedule do
              sleep(0)
              exit(3)
            end
            sleep
          end
        RUBY
        expect(result.stdout).to eq("ensure\n")
        expect(result.stderr).to eq("")
        expect(result.status.exitstatus).to eq(3)
      end
    end

    describe "an enumerator that does IO" do
      it "parks inside a scheduled fiber while other fibers run" do
        order = []
        scheduled do
          reader, writer = pipe
          Fiber.schedule do
            lines = Enumerator.new { |yielder| 3.times { yielder << reader.gets } }
            3.times { order << lines.next }
          end
          3.times do |number|
            order << :writes
            writer.puts(number)
            eventually { order.last != :writes }
          end
        end
        expect(order).to eq([:writes, "0\n", :writes, "1\n", :writes, "2\n"])
      end

      it "parks when the thread's root fiber calls it" do
        order = []
        in_thread do
          Fiber.set_scheduler(new_scheduler)
          reader, writer = pipe
          Fiber.schedule do
            order << :fiber
            sleep(0)
            order << :writes
            writer.puts("line")
          end
          lines = Enumerator.new { |yielder| yielder << reader.gets << sleep(0) }
          order << lines.next
          order << lines.next
        end
        expect(order).to eq([:fiber, :writes, "line\n", 0])
      end

      it "gets the exception that Fiber#raise raises into the calling fiber, which gets it next" do
        order = []
        scheduled do
          reader, = pipe
          lines = Enumerator.new do |_yielder|
            reader.gets
          rescue IndexError
            order << :enumerator
            raise
          end
          outer = Fiber.schedule do
            lines.next
          rescue IndexError
            order << :fiber
          end
          outer.raise(IndexError)
          expect(outer).not_to be_alive
        end
        expect(order).to eq(%i[enumerator fiber])
      end

      it "receives the timeout of the calling fiber" do
        scheduled do
          reader, = pipe
          lines = Enumerator.new { |yielder| yielder << reader.gets }
          error = raised { Timeout.timeout(0.01) { lines.next } }
          expect(error).to be_a(Timeout::Error)
        end
      end
    end
  end
end
