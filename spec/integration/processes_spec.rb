# frozen_string_literal: true

RSpec.describe "Child processes of a program on one thread" do
  # waitpid(2) in Linux; Ruby has no name for it.
  let(:wcontinued) { 8 }

  each_backend do |_backend|
    # A child that exits with this status at a line in the pipe, or when somebody closes the pipe's writer.
    def waiting_child(reader, status, **)
      Process.spawn("read line; exit #{status}", in: reader, **)
    end

    # Runs the block while a fiber waits, and checks that another fiber runs meanwhile.
    def while_another_runs
      running = true
      turns = 0
      Fiber.schedule do
        while running
          turns += 1
          sleep(0.001)
        end
      end
      value = yield
      running = false
      expect(turns).to be_positive
      value
    end

    # fork takes longer the more memory is mapped, and this process has had many fibers.
    it "may be 200, each with a fiber that waits for it, and $? is right in each fiber", limit: 90 do
      waiting = 0
      seen = {}
      scheduled do
        reader, writer = pipe
        200.times do |status|
          pid = waiting_child(reader, status)
          Fiber.schedule do
            waiting += 1
            result = Process.wait(pid)
            seen[status] = [result == pid, $?.pid == pid, $?.exitstatus]
          end
        end
        expect(waiting).to eq(200)
        expect(seen).to be_empty
        writer.close
      end
      expect(seen).to eq((0..199).to_h { |status| [status, [true, true, status]] })
    end

    it "go one each to the fibers that wait for any child" do
      seen = []
      scheduled do
        reader, writer = pipe
        pids = Array.new(10) { |status| waiting_child(reader, 50 + status) }
        10.times do
          Fiber.schedule do
            seen << Process.wait2.then do |pid, status|
              [pid, status.pid, status.exitstatus]
            end
          end
        end
        let_others_run
        expect(seen).to be_empty
        writer.close
        eventually { seen.size == 10 }
        expect(seen).to match_array(pids.each_with_index.map { |pid, status| [pid, pid, 50 + status] })
      end
    end

    it "that ended before a wait are returned at once, and those of any pid in the order of ending" do
      order = []
      scheduled do
        children = Array.new(3) { |status| pipe.then { |reader, writer| [waiting_child(reader, status), writer] } }
        Fiber.schedule { 3.times { order << Process.wait2.last.exitstatus } }
        [2, 0, 1].each_with_index do |index, done|
          children[index].last.close
          eventually { order.size > done }
        end
        ended = Process.spawn("exit 9")
        eventually { File.read("/proc/#{ended}/stat").split[2] == "Z" }
        expect(Process.wait2(ended).last.exitstatus).to eq(9)
      end
      expect(order).to eq([2, 0, 1])
    end

    it "are not lost when a Timeout ends a wait for any child" do
      scheduled do
        statuses = Array.new(50) do |status|
          reader, writer = pipe
          child = waiting_child(reader, status)
          expect(raised { Timeout.timeout(0.001) { Process.wait(-1) } }).to be_a(Timeout::Error)
          writer.close
          Process.wait2(child).last.exitstatus
        end
        expect(statuses).to eq([*0...50])
      end
    end

    it "are found by their process group: only its own members, until none is left" do
      order = []
      scheduled do
        reader, writer = pipe
        other_reader, other_writer = pipe
        leader = waiting_child(reader, 1, pgroup: true)
        waiting_child(reader, 2, pgroup: leader)
        other = waiting_child(other_reader, 3, pgroup: true)
        Fiber.schedule do
          statuses = Array.new(2) { Process.wait2(-leader).last.exitstatus }
          order << statuses.sort
          order << raised { Process.wait(-leader) }.class
        end
        Fiber.schedule { order << Process.wait2(other).last.exitstatus }
        other_writer.close
        eventually { order.any? }
        writer.close
      end
      expect(order).to eq([3, [1, 2], Errno::ECHILD])
    end

    it "of the own process group are found by pid 0" do
      seen = nil
      scheduled do
        reader, writer = pipe
        other_reader, other_writer = pipe
        other = waiting_child(other_reader, 4, pgroup: true)
        own = waiting_child(reader, 5)
        Fiber.schedule { seen = Process.wait2(0).then { |pid, status| [pid, status.exitstatus] } }
        other_writer.close
        eventually { File.read("/proc/#{other}/stat").split[2] == "Z" }
        let_others_run
        expect(seen).to be_nil
        writer.close
        eventually { seen }
        expect(seen).to eq([own, 5])
        Process.wait(other)
        expect($?.exitstatus).to eq(4)
      end
    end

    it "report stops with WUNTRACED and continuation with WCONTINUED, and neither reaps them" do
      order = []
      scheduled do
        reader, writer = pipe
        pid = waiting_child(reader, 6)
        Fiber.schedule do
          status = Process.wait2(pid, Process::WUNTRACED).last
          order << [:stopped, status.stopped?, Signal.signame(status.stopsig)]
          status = Process.wait2(pid, wcontinued).last
          order << [:continued, status.exited?, status.to_i]
          order << [:ended, Process.wait2(pid, Process::WUNTRACED | wcontinued).last.exitstatus]
        end
        let_others_run
        Process.kill(:STOP, pid)
        eventually { order.size == 1 }
        let_others_run
        expect(order.size).to eq(1)
        Process.kill(:CONT, pid)
        eventually { order.size == 2 }
        writer.close
      end
      expect(order).to eq([[:stopped, true, "STOP"], [:continued, false, 0xffff], [:ended, 6]])
    end

    it "do not end a wait without WUNTRACED when they stop" do
      order = []
      scheduled do
        reader, writer = pipe
        pid = waiting_child(reader, 8)
        Fiber.schedule { order << Process.wait2(pid).last.exitstatus }
        Process.kill(:STOP, pid)
        eventually { File.read("/proc/#{pid}/stat").split[2] == "T" }
        let_others_run
        order << :stopped
        Process.kill(:CONT, pid)
        writer.close
      end
      expect(order).to eq([:stopped, 8])
    end

    it "raise Errno::ECHILD from Process.wait for other pids, with Ruby's own message" do
      expected = in_thread { raised { Process.wait(Process.ppid) } }
      errors = scheduled do
        [Process.ppid, Process.pid, (2**22) + 1, -((2**22) + 1)].map { |pid| raised { Process.wait(pid) } }
      end
      expect(expected).to be_a(Errno::ECHILD)
      expect(errors).to all(be_a(Errno::ECHILD).and(have_attributes(message: expected.message)))
    end

    it "are not waited for with WNOHANG: it returns nil while the child runs, and then its status" do
      scheduled do
        reader, writer = pipe
        pid = waiting_child(reader, 7)
        expect(Process.wait(pid, Process::WNOHANG)).to be_nil
        writer.close
        eventually { Process.wait(pid, Process::WNOHANG) }
        expect($?.exitstatus).to eq(7)
        expect { Process.wait(pid, Process::WNOHANG) }.to raise_error(Errno::ECHILD)
      end
    end

    it "report death by a signal, and no other fiber sees their $?" do
      seen = {}
      scheduled do
        reader, writer = pipe
        doomed = waiting_child(reader, 1)
        other = waiting_child(reader, 2)
        [[:doomed, doomed], [:other, other]].each do |name, pid|
          Fiber.schedule do
            Process.wait(pid)
            seen[name] = [$?.signaled?, $?.termsig, $?.exitstatus]
          end
        end
        Process.kill(:TERM, doomed)
        eventually { seen.key?(:doomed) }
        writer.close
      end
      expect(seen).to eq(doomed: [true, Signal.list["TERM"], nil], other: [false, nil, 2])
    end

    it "are all reaped by Process.waitall, while other fibers run" do
      # Runs in a program of its own: the suite has children that do not end.
      result = child(<<~RUBY, backend)
        UringIO.run(backend: ARGV[0].to_sym) do
          reader, writer = IO.pipe
          pids = Array.new(5) { |status| Process.spawn("read line; exit \#{status}", in: reader) }
          Fiber.schedule do
            sleep(0)
            puts "others run"
            writer.close
          end
          puts Process.waitall.map { |pid, status| [pids.index(pid), status.exitstatus].join(" ") }.sort
          puts Process.waitall.inspect
        end
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("others run\n0 0\n1 1\n2 2\n3 3\n4 4\n[]\n")
    end

    it "of Process.detach have a thread for which several fibers can wait at once" do
      seen = []
      scheduled do
        reader, writer = pipe
        5.times do |status|
          waiter = Process.detach(waiting_child(reader, status))
          Fiber.schedule { seen << waiter.value.exitstatus }
        end
        expect(seen).to be_empty
        writer.close
      end
      expect(seen).to match_array([*0..4])
    end

    it "of backticks and system run at the same time: one ends only if the other runs" do
      order = []
      scheduled do
        3.times { |index| File.mkfifo(fifos[index]) }
        Fiber.schedule do
          output = `cat #{fifos[0]}; exit 3`
          order << [:backticks, output, $?.exitstatus]
        end
        Fiber.schedule do
          value = system("read line <#{fifos[1]}; echo passed on >#{fifos[0]}; exit 4")
          order << [:system, value, $?.exitstatus]
        end
        order << :both_run
        expect(system("echo go >#{fifos[1]}")).to be(true)
      end
      expect(order.first).to eq(:both_run)
      expect(order.drop(1)).to contain_exactly([:backticks, "passed on\n", 3], [:system, false, 4])
    end

    def fifos
      @fifos ||= Array.new(3) { free_path("fifo") }
    end

    it "fail in system and backticks as they do without a scheduler" do
      calls = [-> { system("/nonexistent") }, -> { system("/nonexistent", exception: true) },
               -> { system("exit 3", exception: true) }, -> { `/nonexistent` }, -> { IO.popen("/nonexistent") }]
      outcomes = lambda {
        calls.map do |call|
          raised do
            return_value(&call)
          end&.then { |error| [error.class, error.message] }
        end
      }
      expected = in_thread(&outcomes)
      expect(scheduled { outcomes.call }).to eq(expected)
      expect(expected.compact.size).to eq(4)
    end

    def return_value
      yield
    end

    it "exchange lines through IO.popen, 20 children at once, in turns" do
      ready = 0
      answers = {}
      statuses = []
      scheduled do
        20.times do |index|
          Fiber.schedule do
            IO.popen(["sh", "-c", "while read line; do echo $line $line; done; exit #{index}"], "r+") do |child|
              3.times do |round|
                child.puts("#{index}.#{round}")
                (answers[index] ||= []) << child.gets
                ready += 1
                eventually { ready >= 20 * (round + 1) } # a round is over when all children have had it
              end
            end
            statuses[index] = $?.exitstatus
          end
        end
      end
      expected = (0..19).to_h { |index| [index, Array.new(3) { |round| "#{index}.#{round} #{index}.#{round}\n" }] }
      expect(answers).to eq(expected)
      expect(statuses).to eq([*0..19])
    end

    it "pass more than a pipe holds through IO.popen, between two fibers" do
      data = pattern(1_000_000)
      received = nil
      scheduled do
        IO.popen(["cat"], "r+b") do |cat|
          Fiber.schedule do
            cat.write(data)
            cat.close_write
          end
          received = cat.read
        end
        expect($?).to be_success
      end
      expect(received == data).to be(true)
    end

    it "let sockets, sleeps and other children go on during a wait" do
      scheduled do
        here, there = unix_pair
        reader, writer = pipe
        pid = waiting_child(reader, 0)
        Fiber.schedule do
          expect(here.gets).to eq("to a socket\n")
          expect(`echo other`).to eq("other\n")
          writer.close
        end
        Fiber.schedule { there.puts("to a socket") }
        while_another_runs { Process.wait(pid) }
        expect($?).to be_success
      end
    end

    it "can be waited for again after Timeout or Fiber#raise has ended a wait" do
      scheduled do
        reader, writer = pipe
        pid = waiting_child(reader, 11)
        [pid, -1].each do |target|
          start = monotonic
          expect { Timeout.timeout(0.02) { Process.wait(target) } }.to raise_error(Timeout::Error)
          expect(monotonic - start).to be >= 0.02
        end
        error = nil
        waiter = Fiber.schedule { error = raised { Process.wait(pid) } }
        waiter.raise(IndexError, "enough")
        expect(error).to be_a(IndexError)
        writer.close
        expect(Process.wait2(pid).last.exitstatus).to eq(11)
      end
    end
  end
end
