# frozen_string_literal: true

require "monitor"
require "timeout"

Timeout.timeout(1) { nil } # starts the thread that the standard library keeps

RSpec.describe "Threads, signals and exits of programs that run under schedulers" do
  prelude = <<~RUBY
    require "timeout"
    BACKEND = ARGV[0].to_sym
    # Runs the block in a fiber of a scheduler of its own, as the program does.
    def scheduled(&block) = UringIO.run(backend: BACKEND, &block)
    def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  RUBY

  # A thread with a scheduler of its own, which is joined after the example in any case.
  def scheduling_thread(&)
    Thread.new { UringIO.run(backend:, &) }.tap { |thread| threads << thread }
  end

  def threads
    @threads ||= []
  end

  after { threads.each { |thread| thread.kill && raised { thread.join } } }

  each_backend do |_backend|
    describe "Threads, each with a scheduler:" do
      it "8 of them pass values round with Queue, in several fibers each" do
        queues = Array.new(8) { Thread::Queue.new }
        results = Thread::Queue.new
        8.times do |index|
          scheduling_thread do
            4.times do
              Fiber.schedule do
                while (value = queues[index].pop)
                  value.size == 80 ? results << value : queues[(index + 1) % 8] << (value + [index])
                end
              end
            end
          end
        end
        # Each value makes ten rounds, all of them at the same time.
        8.times { |index| queues[index] << [] }
        found = Array.new(8) { results.pop }
        queues.each(&:close)
        expect(found.map { |value| value.rotate(value.index(0)) }).to all(eq([*0..7] * 10))
      end

      it "one fiber of one of them holds a Mutex at a time" do
        mutex = Thread::Mutex.new
        counter = inside = most = 0
        all = Array.new(4) do
          scheduling_thread do
            3.times do
              Fiber.schedule do
                5.times do
                  mutex.synchronize do
                    inside += 1
                    most = [most, inside].max
                    value = counter
                    sleep(0.0001)
                    counter = value + 1
                    inside -= 1
                  end
                end
              end
            end
          end
        end
        all.each(&:join)
        expect([counter, most]).to eq([60, 1])
      end

      it "producers and consumers in different threads take turns through a Monitor with conditions" do
        monitor = Monitor.new
        filled = monitor.new_cond
        emptied = monitor.new_cond
        slot = nil
        taken = []
        consumer = scheduling_thread do
          2.times do
            Fiber.schedule do
              10.times do
                monitor.synchronize do
                  filled.wait_while { slot.nil? }
                  taken << slot
                  slot = nil
                  emptied.signal
                end
              end
            end
          end
        end
        producers = Array.new(2) do |producer|
          scheduling_thread do
            10.times do |number|
              monitor.synchronize do
                emptied.wait_until { slot.nil? }
                slot = [producer, number]
                filled.signal
              end
            end
          end
        end
        [consumer, *producers].each(&:join)
        expect(taken.size).to eq(20)
        2.times { |producer| expect(taken.select { |from, _| from == producer }.map(&:last)).to eq([*0..9]) }
      end

      it "a broadcast of a ConditionVariable wakes fibers in all of them" do
        mutex = Thread::Mutex.new
        condition = Thread::ConditionVariable.new
        waiting = 0
        go = false
        woken = Thread::Queue.new
        all = Array.new(4) do |index|
          scheduling_thread do
            3.times do
              Fiber.schedule do
                mutex.synchronize do
                  waiting += 1
                  condition.wait(mutex) until go
                end
                woken << index
              end
            end
          end
        end
        eventually { mutex.synchronize { waiting == 12 } }
        mutex.synchronize do
          go = true
          condition.broadcast
        end
        all.each(&:join)
        expect(Array.new(woken.size) { woken.pop }.tally).to eq(0 => 3, 1 => 3, 2 => 3, 3 => 3)
      end

      it "join and value in fibers wait for threads with schedulers, with and without a limit" do
        order = []
        scheduled do
          gate = Thread::Queue.new
          thread = scheduling_thread { gate.pop.upcase }
          Fiber.schedule { order << thread.value }
          Fiber.schedule { order << (thread.join && :joined) }
          start = monotonic
          expect(thread.join(0.02)).to be_nil
          expect(monotonic - start).to be >= 0.02
          expect(order).to be_empty
          gate << "value"
          eventually { order.size == 2 }
        end
        expect(order).to contain_exactly("VALUE", :joined)
      end

      it "a pipe and a socket pair carry lines between fibers of two of them" do
        here, there = unix_pair
        reader, writer = pipe
        got = []
        one = scheduling_thread do
          Fiber.schedule do
            20.times do
              here.puts("to the other")
              got << reader.gets
            end
          end
          got << :one
        end
        scheduling_thread { 20.times { writer.puts("back #{there.gets.size}") } }.join
        one.join
        expect(got).to eq([:one, *["back 13\n"] * 20])
      end
    end

    describe "A thread that runs a scheduler" do
      # A thread with three parked fibers, which record how they end.
      def thread_with_parked_fibers
        notes = Thread::Queue.new
        input, = unix_pair
        waits = { sleep: -> { sleep }, read: -> { input.read(1) }, pop: -> { Thread::Queue.new.pop } }
        thread = scheduling_thread do
          Thread.current.report_on_exception = false
          waits.each do |name, wait|
            Fiber.schedule do
              wait.call
            rescue StandardError => error
              notes << [name, error.class] # the fiber must not get the exception
            ensure
              notes << name
            end
          end
          notes << :parked
          begin
            sleep
          ensure
            notes << :main
          end
        end
        expect(notes.pop).to eq(:parked)
        [thread, notes]
      end

      it "runs the fibers' ensure blocks after Thread#raise, and ends with the exception" do
        thread, notes = thread_with_parked_fibers
        start = monotonic
        thread.raise(IndexError, "from outside")
        expect { thread.join }.to raise_error(IndexError, "from outside")
        expect(monotonic - start).to be < 5
        expect(Array.new(notes.size) { notes.pop }).to contain_exactly(:sleep, :read, :pop, :main)
      end

      it "runs the fibers' ensure blocks after Thread#kill" do
        thread, notes = thread_with_parked_fibers
        start = monotonic
        thread.kill
        expect(thread.join(10)).to be(thread)
        expect(monotonic - start).to be < 5
        expect(thread.value).to be_nil
        expect(Array.new(notes.size) { notes.pop }).to contain_exactly(:sleep, :read, :pop, :main)
      end

      it "gets Thread#raise in its main flow, whichever fiber waited last" do
        notes = Thread::Queue.new
        thread = scheduling_thread do
          Thread.current.report_on_exception = false
          Fiber.schedule do
            sleep(0.001) # so that it runs after the others have parked, and waits last
            notes << :waits
            sleep
          rescue IndexError
            notes << :in_the_fiber
          ensure
            notes << :ensure
          end
          sleep
        end
        expect(notes.pop).to eq(:waits)
        eventually { thread.stop? }
        thread.raise(IndexError, "from outside")
        expect(notes.pop).to eq(:ensure)
        expect { thread.join(5) }.to raise_error(IndexError, "from outside")
      end

      it "ends by a Timeout around UringIO.run, while one in a fiber ends only that fiber's wait", hurried: true do
        ended = []
        in_thread do
          start = monotonic
          error = raised do
            Timeout.timeout(0.05) do
              UringIO.run(backend:) do
                Fiber.schedule do
                  Timeout.timeout(0.01) { sleep }
                rescue Timeout::Error
                  ended << :inner
                  begin
                    sleep
                  ensure
                    ended << :ensured
                  end
                end
                sleep
              end
            end
          end
          ended << error.class
          expect(monotonic - start).to be >= 0.05
          # The thread works as before.
          ended << UringIO.run(backend:) { Timeout.timeout(5) { sleep(0.001) && :again } }
        end
        expect(ended).to eq([:inner, :ensured, Timeout::Error, :again])
      end

      it "keeps nested Timeouts apart: the innermost expired one ends its own block" do
        results = {}
        scheduled do
          { inner: [5, 0.01], outer: [0.01, 5] }.each do |name, (outer, inner)|
            Fiber.schedule do
              results[name] = catch(:done) do
                Timeout.timeout(outer, IOError) do
                  Timeout.timeout(inner, IndexError) { sleep }
                rescue IndexError
                  sleep(0.001) # goes on within the outer one
                  throw(:done, :inner_block_only)
                end
              rescue IOError
                :outer_block
              end
            end
          end
        end
        expect(results).to eq(inner: :inner_block_only, outer: :outer_block)
      end
    end

    describe "Enumerators and fibers of the program's own" do
      it "do IO in an Enumerator that a scheduled fiber reads, while other fibers run" do
        order = []
        scheduled do
          reader, writer = pipe
          lines = Enumerator.new do |yielder|
            while (line = reader.gets)
              yielder << line.chomp
            end
          end
          Fiber.schedule do
            loop { order << lines.next }
            order << :end
          end
          %w[one two].each do |word|
            order << :writes
            writer.puts(word)
            eventually { order.last == word }
          end
          writer.close
        end
        expect(order).to eq([:writes, "one", :writes, "two", :end])
      end

      it "let a program zip two Enumerators whose sources write in turns" do
        pairs = []
        scheduled do
          sources = Array.new(2) { pipe }
          enumerators = sources.map { |reader, _| reader.each_line }
          Fiber.schedule { loop { pairs << enumerators.map { |enumerator| enumerator.next.to_i } } }
          4.times do |number|
            sources[number % 2].last.puts(number)
            let_others_run
          end
          sources.each { |_, writer| writer.close }
        end
        expect(pairs).to eq([[0, 1], [2, 3]])
      end

      it "sleep, read, write and lock in a Fiber.new that yields to a scheduled fiber" do
        order = []
        scheduled do
          here, there = unix_pair
          mutex = Thread::Mutex.new
          inner = Fiber.new do |first|
            there.puts(first)
            second = Fiber.yield(here.gets)
            sleep(0.001)
            Fiber.yield(mutex.synchronize { second * 2 })
            :over
          end
          Fiber.schedule do
            order << inner.resume("word")
            order << inner.resume(21)
            order << inner.resume
          end
          order << :others
        end
        expect(order).to contain_exactly(:others, "word\n", 42, :over)
        expect(order - [:others]).to eq(["word\n", 42, :over])
      end

      it "do IO in a Fiber.new and an Enumerator that the thread's main flow resumes" do
        values = on_root do
          reader, writer = pipe
          Fiber.schedule do
            3.times do |number|
              sleep(0.001)
              writer.puts(number)
            end
            writer.close
          end
          enumerator = reader.each_line(chomp: true)
          inner = Fiber.new { sleep(0.001) && :slept }
          [enumerator.next, inner.resume, enumerator.next, enumerator.next, raised { enumerator.next }.class]
        end
        expect(values).to eq(["0", :slept, "1", "2", StopIteration])
      end

      it "call no hook in a blocking fiber, which blocks the thread" do
        order = []
        scheduled do
          Fiber.schedule do
            Fiber.new(blocking: true) do
              order << :blocks
              sleep(0.005)
              order << :has_blocked
            end.resume
          end
          order << :others
        end
        expect(order).to eq(%i[blocks has_blocked others])
      end
    end

    describe "A program" do
      # The output of a program, which must end without an error and with status 0.
      def output_of(script)
        result = child(script, backend)
        expect(result.stderr).to eq("")
        expect(result.status).to be_success
        result.stdout.lines(chomp: true)
      end

      it "wakes fibers by trap handlers that push to a Queue, signal by signal, while other fibers wait" do
        lines = output_of(<<~RUBY)
          #{prelude}
          signals = Thread::Queue.new
          %w[USR1 USR2 HUP].each { |name| trap(name) { signals << name } }
          scheduled do
            idle = Fiber.schedule do
              sleep
            rescue StopIteration
              puts "idle one was not woken before"
            end
            got = []
            waiter = Fiber.schedule do
              while (name = signals.pop)
                got << name
                puts "got \#{name}"
              end
            end
            %w[USR1 USR2 USR1 HUP].each_with_index do |name, index|
              system("kill -\#{name} \#{Process.pid}") # while the program waits
              sleep(0.001) until got.size == index + 1
              puts "after \#{name}"
            end
            signals.close
            idle.raise(StopIteration)
          end
        RUBY
        expect(lines).to eq([*%w[USR1 USR2 USR1 HUP].flat_map { |name| ["got #{name}", "after #{name}"] },
                             "idle one was not woken before"])
      end

      it "that only waits wakes only by a signal" do
        program = ChildProgram.new(<<~RUBY, backend)
          #{prelude}
          signals = Thread::Queue.new
          trap("USR1") { signals << :usr1 }
          scheduled do
            Fiber.schedule { $stdin.read; sleep }
            Fiber.schedule do
              3.times { puts signals.pop }
              exit(0)
            end
            puts "waits"
          end
        RUBY
        expect(program.gets).to eq("waits\n")
        3.times do
          program.signal(:USR1)
          expect(program.gets).to eq("usr1\n")
        end
        expect(program.finish.status.exitstatus).to eq(0)
      ensure
        program&.stop
      end

      { "parked fibers" => "3.times { Fiber.schedule { sleep } }; gate = Thread::Queue.new; ready.call; gate.pop",
        "a read that has nothing to read" => "reader, = IO.pipe.tap { |pair| KEEP = pair }; ready.call; reader.read",
        "a child that goes on" => "pid = spawn('sleep 60', %i[out err] => File::NULL); ready.call; Process.wait(pid)",
        "the main flow waiting for its fibers" => "Fiber.schedule { ready.call; sleep }" }.each do |waits, body|
        it "ends promptly at Ctrl-C with #{waits}: by SIGINT, after its ensure and at_exit blocks" do
          program = ChildProgram.new(<<~RUBY, backend)
            #{prelude}
            at_exit { puts "at_exit" }
            ready = -> { puts "ready" }
            begin
              scheduled do
                Fiber.schedule do
                  sleep
                ensure
                  puts "ensure"
                end
                #{body}
              end
            ensure
              puts "after"
            end
          RUBY
          expect(program.gets).to eq("ready\n")
          start = monotonic
          program.signal(:INT)
          result = program.finish
          expect(monotonic - start).to be < 5
          expect(result.stdout).to eq("ensure\nafter\nat_exit\n")
          expect(result.status.termsig || (result.status.exitstatus - 128)).to eq(Signal.list["INT"])
        ensure
          program&.stop
        end
      end

      it "can rescue Interrupt around UringIO.run and end with a status of its own" do
        program = ChildProgram.new(<<~RUBY, backend)
          #{prelude}
          begin
            scheduled do
              Fiber.schedule { sleep }
              puts "ready"
              sleep
            end
          rescue Interrupt
            puts "interrupted"
            puts scheduled { sleep(0.001) && "another scheduler works" }
            exit 130
          end
        RUBY
        expect(program.gets).to eq("ready\n")
        program.signal(:INT)
        result = program.finish
        expect(result.stdout).to eq("interrupted\nanother scheduler works\n")
        expect(result.stderr).to eq("")
        expect(result.status.exitstatus).to eq(130)
      ensure
        program&.stop
      end

      it "has the exit status of an exit in a fiber; the other fibers' ensure blocks and at_exit run" do
        result = child(<<~RUBY, backend)
          #{prelude}
          at_exit { puts "at_exit \#{$!.status}" }
          scheduled do
            Fiber.schedule do
              sleep
            ensure
              puts "ensure"
            end
            Fiber.schedule { sleep(0.001) && exit(42) }
            sleep
          ensure
            puts "main's ensure"
          end
          puts "never"
        RUBY
        expect(result.stderr).to eq("")
        expect(result.stdout.lines(chomp: true)).to match_array(["ensure", "main's ensure", "at_exit 42"])
        expect(result.stdout).to end_with("at_exit 42\n")
        expect(result.status.exitstatus).to eq(42)
      end

      it "has status 1 and the message after abort in a fiber, and exit! runs nothing" do
        result = child(<<~RUBY, backend)
          #{prelude}
          at_exit { puts "at_exit" }
          scheduled do
            Fiber.schedule { sleep }
            Fiber.schedule { abort "no more" }
            sleep
          end
        RUBY
        expect([result.stdout, result.stderr, result.status.exitstatus]).to eq(["at_exit\n", "no more\n", 1])

        result = child(<<~RUBY, backend)
          #{prelude}
          at_exit { puts "at_exit" }
          scheduled do
            Fiber.schedule { sleep }
            Fiber.schedule { exit!(9) }
            sleep
          end
        RUBY
        expect([result.stdout, result.stderr, result.status.exitstatus]).to eq(["", "", 9])
      end

      it "runs at_exit blocks after its fibers have ended, under a scheduler set for the main thread" do
        lines = output_of(<<~RUBY)
          #{prelude}
          at_exit { puts "at_exit: \#{Fiber.scheduler.inspect}" }
          trap("EXIT") { puts "trap EXIT" }
          Fiber.set_scheduler(UringIO::Scheduler.new(backend: BACKEND))
          2.times { |index| Fiber.schedule { sleep(0.002 * (2 - index)) && puts("fiber \#{index}") } }
          puts "main flow ends"
        RUBY
        expect(lines).to start_with(["main flow ends", "fiber 1", "fiber 0"])
        expect(lines.drop(3)).to contain_exactly("at_exit: nil", "trap EXIT")
      end

      it "goes on when an exception ends a fiber, and reports it on standard error" do
        result = child(<<~RUBY, backend)
          #{prelude}
          scheduled do
            Fiber.schedule { raise IndexError, "in a fiber" }
            sleep(0.001)
            puts "goes on"
          end
          puts "end"
        RUBY
        expect(result.stdout).to eq("goes on\nend\n")
        expect(result.stderr).to match(/terminated with exception/).and match(/in a fiber \(IndexError\)/)
        expect(result.status).to be_success
      end

      it "ends at SIGTERM as at Ctrl-C, and its ensure blocks run" do
        program = ChildProgram.new(<<~RUBY, backend)
          #{prelude}
          scheduled do
            Fiber.schedule do
              sleep
            ensure
              puts "ensure"
            end
            puts "ready"
            sleep
          end
        RUBY
        expect(program.gets).to eq("ready\n")
        program.signal(:TERM)
        result = program.finish
        expect(result.stdout).to eq("ensure\n")
        expect(result.status.termsig).to eq(Signal.list["TERM"])
      ensure
        program&.stop
      end

      it "ends the threads that run schedulers when its main thread ends" do
        start = monotonic
        lines = output_of(<<~RUBY)
          #{prelude}
          ready = Thread::Queue.new
          4.times do
            Thread.new do
              scheduled do
                Fiber.schedule do
                  sleep
                ensure
                  puts "ensure"
                end
                ready << true
                sleep
              end
            end
          end
          4.times { ready.pop }
        RUBY
        expect(lines).to eq(["ensure"] * 4)
        expect(monotonic - start).to be < 5
      end
    end
  end
end
