# frozen_string_literal: true

# Each example runs in a program of its own: a forked child of the suite would be a second suite.
RSpec.describe "fork in a program that runs under the scheduler" do
  prelude = <<~RUBY
    require "socket"
    BACKEND = ARGV[0].to_sym
    # Runs the block in a fiber of a scheduler of its own, as the program does.
    def scheduled(&block) = UringIO.run(backend: BACKEND, &block)
  RUBY

  each_backend do |_backend|
    # The output of a program, which must end without an error and with status 0.
    def output_of(script, *arguments)
      result = child(script, backend, *arguments)
      expect(result.stderr).to eq("")
      expect(result.status).to be_success
      result.stdout.lines(chomp: true)
    end

    it "runs the block in the child, with output and exit status, while the parent's fibers go on" do
      lines = output_of(<<~RUBY)
        #{prelude}
        scheduled do
          reader, writer = IO.pipe
          pid = fork do
            writer.close
            puts "child reads \#{reader.read}"
            exit 7
          end
          Fiber.schedule do
            Process.wait(pid)
            puts "parent: \#{$?.pid == pid} \#{$?.exitstatus}"
          end
          puts "parent goes on"
          writer.write("from the parent")
          writer.close
        end
        puts "end"
      RUBY
      expect(lines).to eq(["parent goes on", "child reads from the parent", "parent: true 7", "end"])
    end

    it "returns twice without a block, and the child goes on from there without the scheduler" do
      lines = output_of(<<~RUBY)
        #{prelude}
        parent = Process.pid
        scheduled do
          Fiber.schedule { sleep(0.02); puts "parent's other fiber" if Process.pid == parent }
          if (pid = fork)
            Process.wait(pid)
            puts "parent waited: \#{$?.exitstatus}"
          else
            puts "child: \#{Fiber.scheduler.inspect} \#{Fiber.current_scheduler.inspect}"
            sleep(0.001)
            exit!(3)
          end
        end
        puts "parent only: \#{Process.pid == parent}"
      RUBY
      # The child may take longer than the other fiber sleeps.
      expect(lines.count("parent's other fiber")).to eq(1)
      expect(lines - ["parent's other fiber"]).to eq(["child: nil nil", "parent waited: 3", "parent only: true"])
    end

    it "leaves the child able to do IO of every kind, sleep, run threads and children, and use Timeout" do
      lines = output_of(<<~RUBY, free_path)
        #{prelude}
        require "timeout"
        scheduled do
          pid = fork do
            reader, writer = IO.pipe
            thread = Thread.new { sleep(0.001) && writer.puts("a pipe") }
            puts reader.gets
            thread.join
            File.write(ARGV[1], "a file")
            puts File.read(ARGV[1])
            server = TCPServer.new("127.0.0.1", 0)
            client = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
            server.accept.puts("a socket")
            puts client.gets
            puts `echo a child`
            system("exit 4")
            puts $?.exitstatus
            begin
              Timeout.timeout(0.01) { reader.read }
            rescue Timeout::Error => error
              puts error.class
            end
            queue = Thread::Queue.new
            Thread.new { queue << "a thread" }
            puts queue.pop
          end
          Process.wait(pid)
          puts "status \#{$?.exitstatus}"
        end
      RUBY
      expect(lines).to eq(["a pipe", "a file", "a socket", "a child", "4", "Timeout::Error", "a thread", "status 0"])
    end

    it "lets the child use a scheduler of its own with many fibers, as the parent does" do
      lines = output_of(<<~RUBY)
        #{prelude}
        # Ends only if the fibers run at the same time.
        def ring(name)
          queues = Array.new(5) { Thread::Queue.new }
          pipes = Array.new(5) { IO.pipe }
          order = []
          5.times do |index|
            Fiber.schedule do
              order << [index, queues[index].pop].join
              pipes[index].last.puts("p\#{index}")
            end
            Fiber.schedule do
              order << pipes[index].first.gets.chomp
              queues[index + 1] << "q" if index < 4
            end
          end
          queues[0] << "q"
          sleep(0.001) until order.size == 10
          puts "\#{name}: \#{order.join(' ')}"
        end
        scheduled do
          pid = fork { scheduled { ring("child") } }
          Process.wait(pid)
          puts $?.success?
          pid = fork do
            Fiber.set_scheduler(UringIO::Scheduler.new(backend: BACKEND))
            Fiber.schedule { ring("child by set_scheduler") }
          end
          Process.wait(pid)
          puts $?.success?
          ring("parent")
        end
      RUBY
      order = "0q p0 1q p1 2q p2 3q p3 4q p4"
      expect(lines).to eq(["child: #{order}", "true", "child by set_scheduler: #{order}", "true", "parent: #{order}"])
    end

    it "does not disturb the parent's waits for descriptors, timers, queues and children" do
      lines = output_of(<<~RUBY)
        #{prelude}
        scheduled do
          here, there = UNIXSocket.pair
          reader, writer = IO.pipe
          gate, go = IO.pipe
          queue = Thread::Queue.new
          first = Process.spawn("read line; exit 5", in: gate)
          order = []
          waiters = {
            socket: -> { here.readpartial(10) }, pipe: -> { reader.read }, queue: -> { queue.pop },
            child: -> { Process.wait2(first).last.exitstatus }, timer: -> { sleep(0.05) && nil },
            writable: -> { there.wait_writable(5) && "w" }
          }
          waiters.each { |name, wait| Fiber.schedule { order << [name, wait.call].compact.join(" ") } }
          10.times do |status|
            # Children that end in every possible way.
            pid = fork do
              GC.start
              case status % 4
              when 0 then exit!(status)
              when 1 then scheduled { sleep(0.001) } && exit(status)
              when 2 then [here, reader, gate].each(&:close) && exit(status)
              when 3 then Process.kill(:KILL, Process.pid)
              end
            end
            Process.wait(pid)
            puts [status, $?.exitstatus || Signal.signame($?.termsig)].join(" ")
          end
          there.write("s")
          writer.write("p")
          writer.close
          queue << "q"
          go.close
          sleep(0.001) until order.size == waiters.size
          puts order.sort
        end
      RUBY
      statuses = Array.new(10) { |status| "#{status} #{status % 4 == 3 ? 'KILL' : status}" }
      expect(lines).to eq([*statuses, "child 5", "pipe p", "queue q", "socket s", "timer", "writable w"])
    end

    it "runs neither the parent's parked fibers in the child nor their ensure blocks" do
      lines = output_of(<<~RUBY)
        #{prelude}
        parent = Process.pid
        at_exit { puts "at_exit in the \#{Process.pid == parent ? 'parent' : 'child'}" }
        scheduled do
          gate = Thread::Queue.new
          3.times do
            Fiber.schedule do
              gate.pop
              puts "body in the \#{Process.pid == parent ? 'parent' : 'child'}"
            ensure
              puts "ensure in the child" unless Process.pid == parent
            end
          end
          Process.wait(fork { gate.close && GC.start })
          puts "child has ended: \#{$?.exitstatus}"
          gate.close
        end
      RUBY
      expect(lines).to eq(["at_exit in the child", "child has ended: 0",
                           *["body in the parent"] * 3, "at_exit in the parent"])
    end

    it "lets the child raise into a parked fiber of the parent, without touching operations in flight" do
      lines = output_of(<<~RUBY)
        #{prelude}
        scheduled do
          reader, writer = UNIXSocket.pair
          read = nil
          parked = Fiber.schedule do
            read = reader.read(1)
          rescue IndexError
            exit!(3)
          end
          pid = fork { parked.raise(IndexError) }
          Process.wait(pid)
          puts "child: \#{$?.exitstatus.inspect} \#{$?.termsig.inspect}"
          writer.write("x")
          sleep(0.001) until read
          puts "parent: \#{read}"
        end
      RUBY
      expect(lines).to eq(["child: 3 nil", "parent: x"])
    end

    it "works in several fibers at once and in children of children, and passes the statuses up" do
      lines = output_of(<<~RUBY)
        #{prelude}
        scheduled do
          gate, go = IO.pipe
          5.times do |index|
            Fiber.schedule do
              pid = fork do
                go.close
                gate.read
                scheduled { Process.wait(fork { exit(10 + index) }) && exit($?.exitstatus + 10) }
              end
              Process.wait(pid)
              puts [index, $?.exitstatus].join(" ")
            end
          end
          puts "all wait"
          go.close
        end
      RUBY
      expect(lines.first).to eq("all wait")
      expect(lines.drop(1)).to match_array(Array.new(5) { |index| "#{index} #{20 + index}" })
    end

    it "raises the child's exception only in the child, which ends with status 1 and its message" do
      result = child(<<~RUBY, backend)
        #{prelude}
        scheduled do
          Fiber.schedule { Process.wait(fork { raise IndexError, "in the child" }) && puts($?.exitstatus) }
          puts "goes on"
        end
        puts "end"
      RUBY
      expect(result.stdout).to eq("goes on\n1\nend\n")
      expect(result.stderr).to match(/in the child \(IndexError\)/)
      expect(result.stderr.scan("IndexError").size).to eq(1)
      expect(result.status).to be_success
    end

    it "in one thread leaves the schedulers of other threads alone" do
      lines = output_of(<<~RUBY)
        #{prelude}
        queue = Thread::Queue.new
        answers = Thread::Queue.new
        other = Thread.new { scheduled { Fiber.schedule { answers << queue.pop.succ } && answers << :ready } }
        answers.pop
        scheduled do
          Process.wait(fork { puts "child" })
          queue << 1
          puts answers.pop
        end
        other.join
      RUBY
      expect(lines).to eq(%w[child 2])
    end

    it "by Process.daemon leaves a program that can use a scheduler of its own" do
      fifo = free_path("fifo")
      File.mkfifo(fifo)
      script = <<~RUBY
        #{prelude}
        before = Process.pid
        scheduled do
          Fiber.schedule { sleep }
          sleep(0.001)
          Process.daemon(true)
          File.open(ARGV[1], "w") do |out|
            out.sync = true
            out.puts "scheduler: \#{Fiber.scheduler.inspect}", "another process: \#{Process.pid != before}"
            Thread.new do
              scheduled do
                here, there = UNIXSocket.pair
                Fiber.schedule { out.puts "fiber got \#{here.gets}" }
                there.puts("a line")
              end
            end.join
            out.puts `echo a child`
          end
          exit!(0)
        end
      RUBY
      said = Thread.new { File.read(fifo) }
      result = child(script, backend, fifo)
      expect(result.stderr).to eq("")
      expect(result.status).to be_success
      expect(said.value).to eq("scheduler: nil\nanother process: true\nfiber got a line\na child\n")
    ensure
      said&.kill&.join
    end
  end
end
