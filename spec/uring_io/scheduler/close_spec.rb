# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#run, #close and #scheduler_close" do
  each_backend do |backend|
    it "runs every fiber to its end, including fibers that other fibers start meanwhile" do
      order = []
      on_root do |scheduler|
        Fiber.schedule do
          sleep(0.005)
          order << :first
          Fiber.schedule do
            sleep(0.001)
            order << :second
          end
        end
        order << :before
        scheduler.run
        order << :after
        Fiber.schedule { order << :again if sleep(0) }
        scheduler.run
        expect(scheduler).not_to be_closed
      end
      expect(order).to eq(%i[before first second after again])
    end

    it "returns from run at once when there is nothing to do" do
      on_root { |scheduler| expect(scheduler.run).to be_nil }
    end

    it "refuses run and close inside of the scheduler's fibers, which would wait for themselves" do
      scheduled do |scheduler|
        expect { scheduler.run }.to raise_error(FiberError)
        expect { scheduler.close }.to raise_error(FiberError)
        expect(scheduler).not_to be_closed
      end
    end

    it "runs the fibers before Thread#value returns" do
      order = []
      thread = Thread.new do
        Fiber.set_scheduler(new_scheduler)
        Fiber.schedule { order << :fiber if sleep(0.01) }
        order << :thread_ends
      end
      thread.join
      expect(order).to eq(%i[thread_ends fiber])
    end

    it "runs the fibers and closes when the thread sets another scheduler or none" do
      order = []
      in_thread do
        first = new_scheduler
        Fiber.set_scheduler(first)
        Fiber.schedule { order << :first if sleep(0.001) }
        Fiber.set_scheduler(new_scheduler)
        expect(first).to be_closed
        Fiber.schedule { order << :second if sleep(0.001) }
        Fiber.set_scheduler(nil)
        order << :none
      end
      expect(order).to eq(%i[first second none])
    end

    it "runs the fibers of the main thread before the program's at_exit blocks" do
      result = child(<<~RUBY, backend)
        at_exit { puts "at_exit" }
        Fiber.set_scheduler(UringIO::Scheduler.new(backend: ARGV[0].to_sym))
        Fiber.schedule { sleep(0.01); puts "fiber" }
        puts "main"
      RUBY
      expect(result.stdout).to eq("main\nfiber\nat_exit\n")
      expect(result.stderr).to eq("")
      expect(result.status).to be_success
    end

    it "closes once, however often and by whichever name the program calls it" do
      scheduler = nil
      ended = 0
      on_root do |current|
        scheduler = current
        Fiber.schedule { ended += 1 if sleep(0.001) }
        expect(scheduler).not_to be_closed
        scheduler.close
        expect(ended).to eq(1)
        expect(scheduler).to be_closed
        scheduler.close
        scheduler.scheduler_close
      end
      expect(scheduler).to be_closed
      expect(scheduler.backend).to eq(backend)
    end

    it "closes its descriptors at once, without waiting for the garbage collector" do
      GC.disable
      on_root do |scheduler|
        before = Leaks::State.open_descriptors.size
        other = in_thread { new_scheduler.tap(&:close) }
        expect(other).to be_closed
        expect(Leaks::State.open_descriptors.size).to be <= before
        scheduler.run
      end
    ensure
      GC.enable
    end

    it "raises ClosedError from every hook after it closed" do
      reader, = pipe
      buffer = IO::Buffer.new(8)
      in_thread do
        scheduler = new_scheduler
        scheduler.close
        calls = { block: [:label, 0], kernel_sleep: [0], io_wait: [reader, 1, 0], io_read: [reader, buffer, 0, 0],
                  io_write: [reader, buffer, 0, 0], io_pread: [reader, buffer, 0, 0, 0], io_select: [[reader]],
                  address_resolve: ["localhost"], process_wait: [1, 0], run: [] }
        calls.each do |hook, arguments|
          error = raised { scheduler.public_send(hook, *arguments) }
          expect([hook, error.class]).to eq([hook, UringIO::ClosedError])
        end
        expect { scheduler.fiber { nil } }.to raise_error(UringIO::ClosedError)
        expect { scheduler.timeout_after(1, Timeout::Error, "") { nil } }.to raise_error(UringIO::ClosedError)
      end
    end

    it "shuts the fibers down when an exception ends the thread: their ensure blocks run" do
      order = []
      expect do
        on_root do
          input, = unix_pair
          Fiber.schedule do
            sleep
          ensure
            order << :sleeper
          end
          Fiber.schedule do
            input.readpartial(1)
          ensure
            order << :reader
          end
          raise IndexError, "the thread fails"
        end
      end.to raise_error(IndexError, "the thread fails")
      expect(order).to contain_exactly(:sleeper, :reader)
    end

    it "shuts the fibers down when somebody kills the thread while it waits" do
      order = Thread::Queue.new
      thread = Thread.new do
        Fiber.set_scheduler(new_scheduler)
        Fiber.schedule do
          order << :waits
          sleep
        ensure
          order << :ensure
        end
      end
      expect(order.pop).to eq(:waits)
      thread.kill
      thread.join
      expect(order.size.positive? && order.pop).to eq(:ensure)
    end

    it "raises Thread#raise in the thread's main flow, and shuts its fibers down" do
      order = Thread::Queue.new
      thread = Thread.new do
        Thread.current.report_on_exception = false
        UringIO.run(backend:) do
          Fiber.schedule do
            sleep
          ensure
            order << :ensure
          end
          order << :waits
          sleep
        end
      end
      order.pop
      thread.raise(IndexError, "from outside")
      expect { thread.join }.to raise_error(IndexError, "from outside")
      expect(order.pop).to eq(:ensure)
    end

    it "raises Thread#raise in none of the fibers, whichever of them waits in the kernel" do
      seen = Thread::Queue.new
      thread = Thread.new do
        Thread.current.report_on_exception = false
        UringIO.run(backend:) do
          2.times do
            Fiber.schedule do
              sleep
            rescue IndexError
              seen << :fiber
            end
          end
          begin
            sleep(0.005) # The fiber that parks last waits in the kernel: from now on, that is this fiber.
            seen << :waits
            sleep(60)
          rescue IndexError
            seen << :block
          end
        end
      end
      seen.pop
      eventually { thread.stop? }
      thread.raise(IndexError, "from outside")
      expect { thread.join }.to raise_error(IndexError, "from outside")
      expect(seen.size).to eq(0)
    end

    it "raises in the main flow what a fiber raised there, even when closing has ended that fiber" do
      log = []
      error = in_thread do
        root = Fiber.current
        raised do
          UringIO.run(backend:) do
            Fiber.schedule do
              sleep
            ensure
              sleep(0.001)
              log << :others
            end
            sleep(0.001)
            root.raise(IndexError)
          ensure
            log << :raiser
          end
        end
      end
      expect(error).to be_an(IndexError)
      expect(log).to match_array(%i[others raiser])
    end

    it "gives up on fibers that rescue everything and go on" do
      scheduler = nil
      error = raised do
        on_root do |current|
          scheduler = current
          Fiber.schedule do
            loop do
              sleep
            rescue Exception # rubocop:disable Lint/RescueException
              nil
            ensure
              sleep(0)
            end
          end
          raise IndexError
        end
      end
      expect(error).to be_a(IndexError)
      expect(scheduler).to be_closed
    end

    it "closes with operations of every kind in flight" do
      error = raised do
        on_root do
          reader, writer = pipe
          fill(writer)
          socket, = unix_pair
          Fiber.schedule { socket.readpartial(1) }
          Fiber.schedule { socket.wait_readable }
          Fiber.schedule { reader.wait_priority(60) }
          Fiber.schedule { writer.write("x") }
          Fiber.schedule { tcp_server.accept }
          Fiber.schedule { IO.select([socket, reader]) }
          Fiber.schedule { Timeout.timeout(60) { Thread::Queue.new.pop } }
          Fiber.schedule { Addrinfo.tcp("localhost", 1) }
          Fiber.schedule { File.read(file_with("x" * 100_000)) }
          raise IndexError, "fails"
        end
      end
      expect(error).to be_a(IndexError)
    end

    describe "Ctrl-C" do
      waits = {
        "sleeps" => "sleep",
        "reads from a pipe" => "IO.pipe.first.read",
        "reads from a socket" => "UNIXSocket.pair.first.read",
        "selects" => "IO.select([IO.pipe.first])",
        "joins a thread" => "Thread.new { sleep }.join",
        "waits for a child" => "Process.wait(spawn('sleep', '60', out: File::NULL))",
        "waits in a Timeout" => "Timeout.timeout(60) { sleep }"
      }
      waits.each do |what, code|
        it "at once ends a program that #{what}, and its ensure blocks run" do
          result = child(<<~RUBY, backend) do |program|
            require "socket"
            require "timeout"
            UringIO.run(backend: ARGV[0].to_sym) do
              Fiber.schedule do
                sleep
              ensure
                puts "ensure"
              end
              # The fiber that parks last waits in the kernel. Here that is not the root fiber.
              sleep(0.01)
              puts "ready"
              #{code}
            end
          RUBY
            expect(program.gets).to eq("ready\n")
            program.signal(:INT)
          end
          expect(result.stdout).to eq("ensure\n")
          expect(result.status.termsig).to eq(Signal.list.fetch("INT"))
        end
      end

      it "ends a program that waits for its fibers after its main flow has ended" do
        result = child(<<~RUBY, backend) do |program|
          Fiber.set_scheduler(UringIO::Scheduler.new(backend: ARGV[0].to_sym))
          Fiber.schedule { sleep }
          Fiber.schedule { sleep(0.01); puts "ready" }
        RUBY
          program.gets
          program.signal(:INT)
        end
        expect(result.status.termsig).to eq(Signal.list.fetch("INT"))
      end

      it "raises an Interrupt that the main flow can rescue" do
        result = child(<<~RUBY, backend) do |program|
          begin
            UringIO.run(backend: ARGV[0].to_sym) { puts "ready"; sleep }
          rescue Interrupt
            puts "rescued"
          end
        RUBY
          program.gets
          program.signal(:INT)
        end
        expect(result.stdout).to eq("rescued\n")
        expect(result.status).to be_success
      end
    end

    it "runs trap handlers while it waits, and goes on waiting" do
      result = child(<<~RUBY, backend) do |program|
        trapped = Thread::Queue.new
        reader, writer = IO.pipe
        trap("USR1") { trapped << :trapped }
        trap("USR2") { writer.close }
        UringIO.run(backend: ARGV[0].to_sym) do
          Fiber.schedule { loop { puts trapped.pop } }
          puts "ready"
          reader.read
          puts "end"
          exit
        end
      RUBY
        program.gets
        20.times do
          program.signal(:USR1)
          expect(program.gets).to eq("trapped\n")
        end
        program.signal(:USR2)
      end
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("end\n")
      expect(result.status).to be_success
    end
  end
end
