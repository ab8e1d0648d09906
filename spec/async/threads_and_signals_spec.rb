# frozen_string_literal: true

require_relative "async_helper"

RSpec.describe "Threads with an Async reactor each" do
  each_reactor do
    it "run at the same time, four of them, with sockets between them" do
      rings = Array.new(4) { unix_pair }
      results = Array.new(4) do |index|
        input = rings[index].first
        output = rings[(index + 1) % 4].last
        Thread.new do
          reactor_here do |task|
            task.async { 500.times { |number| output.write([number, index].pack("NN")) } }
            Array.new(500) { input.read(8).unpack("NN") }
          end
        end
      end.map(&:value)
      results.each_with_index do |received, index|
        expect(received).to eq(Array.new(500) { |number| [number, (index - 1) % 4] })
      end
    end

    it "wake each other by queues, 2,000 times, and no wakeup is lost" do
      first = Thread::Queue.new
      second = Thread::Queue.new
      other = Thread.new { reactor_here { 2_000.times { second << (first.pop + 1) } } }
      sum = reactor do
        2_000.times.inject(0) do |number, _|
          first << number
          second.pop
        end
      end
      other.join
      expect(sum).to eq(2_000)
    end

    it "wake by plain threads: through a queue, a condition variable, a pipe and the end of a thread" do
      reactor do |task|
        queue = Thread::Queue.new
        reader, writer = pipe
        mutex = Mutex.new
        condition = ConditionVariable.new
        done = false
        waiting = [
          task.async { queue.pop },
          task.async { reader.gets },
          task.async { mutex.synchronize { condition.wait(mutex) until done } && :done }
        ]
        thread = Thread.new do
          queue << :item
          writer.puts("line")
          mutex.synchronize do
            done = true
            condition.signal
          end
          :ended
        end
        expect(waiting.first(2).map(&:wait)).to eq([:item, "line\n"])
        waiting.last.wait
        expect(thread.value).to eq(:ended)
      end
    end

    it "wait without using the processor" do
      used = reactor do |task|
        reader, = pipe
        task.async { reader.readpartial(1) }.tap do |reading|
          before = Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID)
          sleep(0.3)
          reading.stop
          break Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID) - before
        end
      end
      expect(used).to be < 0.05
    end

    it "end when somebody kills them, and run the tasks' ensure blocks" do
      ended = Thread::Queue.new
      started = Thread::Queue.new
      thread = Thread.new do
        reactor_here do |task|
          3.times do
            task.async do
              started << true
              sleep
            ensure
              ended << true
            end
          end
        end
      end
      3.times { started.pop }
      thread.kill
      expect(thread.join(5)).to be(thread)
      expect(ended.size).to eq(3)
    end

    it "raise an exception of Thread#raise, wherever they wait" do
      started = Thread::Queue.new
      thread = Thread.new do
        Thread.current.report_on_exception = false
        reactor_here do
          started << true
          sleep
        end
      end
      started.pop
      thread.raise(KeyError, "from outside")
      expect { thread.value }.to raise_error(KeyError, "from outside")
    end

    it "come and go 200 times and leave nothing behind" do
      before = Dir.children("/proc/self/fd").size
      200.times { expect(reactor { |task| task.async { sleep(0) && :value }.wait }).to eq(:value) }
      expect(Dir.children("/proc/self/fd").size).to be <= before + 1
    end

    it "survive the garbage collector while 200 tasks wait" do
      count = reactor do |task|
        pairs = Array.new(20) { unix_pair }
        tasks = Array.new(200) { |index| task.async { pairs[index % 20].first.readpartial(1) } }
        3.times { GC.start && GC.compact }
        pairs.each { |_, far| far.write("x" * 10) }
        tasks.count { |waiting| waiting.wait == "x" }
      end
      expect(count).to eq(200)
    end
  end
end

RSpec.describe "Signals for a program on Async" do
  each_reactor do
    it "INT ends the tasks, whose ensure blocks run, and then the program" do
      result = async_child(<<~RUBY) do |program|
        begin
          Sync do |task|
            task.async do
              sleep
            ensure
              print "ensured in a task\n"
            end
            reader, = IO.pipe
            print "ready\n"
            reader.read
          ensure
            print "ensured in Sync\n"
          end
        rescue Interrupt
          print "interrupted\n"
        end
      RUBY
        expect(program.gets).to eq("ready\n")
        program.signal(:INT)
      end
      expect(result.stderr).to eq("")
      expect(result.stdout.lines).to contain_exactly("ensured in a task\n", "ensured in Sync\n", "interrupted\n")
      expect(result.stdout).to end_with("interrupted\n")
      expect(result.status).to be_success
    end

    it "INT that nobody rescues ends the program by INT" do
      result = async_child("Async { print \"ready\n\"; sleep }") do |program|
        program.gets
        program.signal(:INT)
      end
      expect(result.status.termsig).to eq(Signal.list["INT"])
    end

    it "TERM ends the program, after the tasks' ensure blocks" do
      result = async_child(<<~RUBY) do |program|
        Async do
          print "ready\n"
          sleep
        ensure
          print "ensured\n"
        end
      RUBY
        program.gets
        program.signal(:TERM)
      end
      expect(result.stdout).to eq("ensured\n")
      expect(result.status.termsig).to eq(Signal.list["TERM"])
    end

    it "a trap handler runs at once even while the reactor waits, and may wake a task" do
      result = async_child(<<~RUBY) do |program|
        Sync do |task|
          signals = Thread::Queue.new
          trap(:USR1) { signals << :usr1 }
          print "ready\n"
          3.times { print "got \#{signals.pop}\n" }
        end
      RUBY
        program.gets
        3.times do
          program.signal(:USR1)
          expect(program.gets).to eq("got usr1\n")
        end
      end
      expect(result.stderr).to eq("")
      expect(result.status).to be_success
    end

    it "a trap handler may interrupt the reactor" do
      result = async_child(<<~RUBY) do |program|
        reactor = Async::Reactor.new
        trap(:USR1) { reactor.interrupt }
        reactor.run do
          print "ready\n"
          sleep
        end
        print "interrupted\n"
        reactor.close
      RUBY
        program.gets
        program.signal(:USR1)
      end
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("interrupted\n")
    end

    it "hundreds of them disturb neither IO nor sleeping" do
      result = async_child(<<~RUBY) do |program|
        require "socket"
        count = 0
        trap(:USR1) { count += 1 }
        Sync do |task|
          near, far = UNIXSocket.pair
          print "ready\n"
          echo = task.async { far.write(far.readpartial(100)) while true }
          transferred = 0
          until count >= 100
            near.write("x" * 100)
            transferred += near.readpartial(100).bytesize
            sleep(0.0005)
          end
          echo.stop
          print(transferred.positive? && (transferred % 100).zero? ? "fine\n" : "lost\n")
        end
      RUBY
        program.gets
        sender = Thread.new do
          loop do
            program.signal(:USR1)
            sleep(0.0005)
          end
        rescue Errno::ESRCH
          nil
        end
        expect(program.gets).to eq("fine\n")
        sender.kill.join
      end
      expect(result.stderr).to eq("")
      expect(result.status).to be_success
    end
  end
end
