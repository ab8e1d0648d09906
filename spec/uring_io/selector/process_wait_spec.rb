# frozen_string_literal: true

RSpec.describe "UringIO::Selector#process_wait" do
  # The fewest hooks that a selector needs from its scheduler when it waits for a thread of its own.
  let(:scheduler_class) do
    Class.new do
      def initialize(selector)
        @selector = selector
      end

      def block(_blocker, _timeout = nil)
        @selector.transfer
      end

      def unblock(_blocker, fiber)
        @selector.push(fiber)
        @selector.wakeup
      end

      def kernel_sleep(_duration = nil)
        @selector.yield
      end

      def io_wait(io, events, _timeout)
        @selector.io_wait(Fiber.current, io, events)
      end

      def fiber_interrupt(*) = nil

      def close = nil
    end
  end

  each_selector do
    # Like selecting, with a scheduler that uses the selector.
    def scheduling
      selecting do |selector, loop_fiber|
        Fiber.set_scheduler(scheduler_class.new(selector))
        yield selector, loop_fiber
      ensure
        Fiber.set_scheduler(nil)
        children.each do |pid|
          Process.kill(:KILL, pid)
          Process.wait(pid)
        rescue SystemCallError
          nil # already reaped
        end
      end
    end

    def children
      @children ||= []
    end

    def spawned(command, **)
      Process.spawn(command, **).tap { |pid| children << pid }
    end

    # A child that exits with the status when it gets a byte through the pipe, and the writer of that pipe.
    def waiting_child(status = 0, **)
      reader, writer = pipe
      [spawned("head -c 1 >/dev/null; exit #{status}", in: reader, **), writer]
    end

    def wait_for_child(selector, pid, flags = 0)
      selector.process_wait(Fiber.current, pid, flags)
    end

    it "waits until the child ends, and returns its status" do
      scheduling do |selector, _|
        pid, writer = waiting_child(7)
        waiter = started { wait_for_child(selector, pid) }
        run_what_can(selector)
        expect(waiter).not_to be_done
        writer.write("x")
        expect(finished(selector, waiter)).to be_a(Process::Status).and have_attributes(pid:, exitstatus: 7)
      end
    end

    it "reports that a signal ended the child" do
      scheduling do |selector, _|
        pid, = waiting_child
        waiter = started { wait_for_child(selector, pid) }
        selector.select(0)
        Process.kill(:KILL, pid)
        expect(finished(selector, waiter)).to have_attributes(pid:, termsig: Signal.list["KILL"], exitstatus: nil)
      end
    end

    it "reaps: the child is gone afterwards" do
      scheduling do |selector, _|
        pid = spawned("exit 3")
        expect(served(selector) { wait_for_child(selector, pid) }).to have_attributes(exitstatus: 3)
        expect { Process.wait(pid) }.to raise_error(Errno::ECHILD)
      end
    end

    it "finds a child that has ended already" do
      scheduling do |selector, _|
        pid = spawned("exit 4")
        # The state Z means that the child has ended and nobody has reaped it.
        Thread.pass until File.read("/proc/#{pid}/stat").include?(") Z ")
        expect(served(selector) { wait_for_child(selector, pid) }).to have_attributes(pid:, exitstatus: 4)
      end
    end

    it "waits for several children at once, and lets other fibers run" do
      scheduling do |selector, _|
        ended = []
        all = Array.new(4) { |status| waiting_child(status) }
        tasks = all.map { |pid, _| started { ended << wait_for_child(selector, pid).exitstatus } }
        reader, writer = pipe
        other = started { wait_for(selector, reader, IO::READABLE) }
        writer.write("x")
        expect(finished(selector, other)).to eq(IO::READABLE)
        [2, 0, 3, 1].each_with_index do |index, done|
          all[index].last.write("x")
          run_until(selector) { ended.size > done }
        end
        expect(ended).to eq([2, 0, 3, 1])
        expect(tasks).to all(be_done)
      end
    end

    it "returns a status with pid -1 for a process that is no child, without an exception",
       io_event_hangs: { EPoll: "waits for the end of any process" } do
      scheduling do |selector, _|
        [Process.pid, Process.ppid, (2**22) + 1].each do |pid|
          status = served(selector) { wait_for_child(selector, pid) }
          expect(status).to be_a(Process::Status).and have_attributes(pid: -1)
        end
      end
    end

    it "returns such a status for a group without children" do
      scheduling do |selector, _|
        expect(served(selector) { wait_for_child(selector, -(2**22) - 1) }).to have_attributes(pid: -1)
      end
    end

    it "waits for any child of a group, and lets other fibers run" do
      scheduling do |selector, _|
        group, first = waiting_child(5, pgroup: true)
        _, second = waiting_child(6, pgroup: group)
        ended = []
        waiters = Array.new(2) { started { ended << wait_for_child(selector, -group).exitstatus } }
        reader, writer = pipe
        other = started { wait_for(selector, reader, IO::READABLE) }
        writer.write("x")
        expect(finished(selector, other)).to eq(IO::READABLE)
        expect(ended).to eq([])
        second.write("x")
        run_until(selector) { ended.size == 1 }
        first.write("x")
        run_until(selector) { waiters.all?(&:done?) }
        expect(ended).to eq([6, 5])
      end
    end

    # The watchdog is a child of the runner too, so only a program of its own can wait for any child.
    it "waits for any child with pid -1, until there is none" do
      result = program(<<~RUBY)
        class Plain
          def initialize(selector) = @selector = selector
          def block(*) = @selector.transfer
          def unblock(_, fiber) = [@selector.push(fiber), @selector.wakeup]
          def kernel_sleep(*) = @selector.yield
          def io_wait(io, events, _) = @selector.io_wait(Fiber.current, io, events)
          def fiber_interrupt(*) = nil
          def close = nil
        end
        selector = SELECTOR.new(Fiber.current)
        Fiber.set_scheduler(Plain.new(selector))
        children = [3, 4].map { |status| spawn("exit \#{status}") }
        found = []
        done = false
        Fiber.new do
          3.times { found << selector.process_wait(Fiber.current, -1, 0) }
          done = true
        end.transfer
        selector.select(nil) until done
        p found.first(2).map(&:exitstatus).sort, found.first(2).map(&:pid).sort == children.sort, found.last.pid
        Fiber.set_scheduler(nil)
        selector.close
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("[3, 4]\ntrue\n-1\n")
    end

    it "reports stopped children when the flags ask for it",
       io_event_hangs: { EPoll: "waits for the end" } do
      scheduling do |selector, _|
        pid, = waiting_child
        waiter = started { wait_for_child(selector, pid, Process::WUNTRACED) }
        run_what_can(selector)
        expect(waiter).not_to be_done
        Process.kill(:STOP, pid)
        expect(finished(selector, waiter)).to be_stopped.and have_attributes(pid:, stopsig: Signal.list["STOP"])
      end
    end

    it "does not report stopped children otherwise" do
      scheduling do |selector, _|
        pid, = waiting_child
        waiter = started { wait_for_child(selector, pid) }
        selector.select(0)
        Process.kill(:STOP, pid)
        Process.kill(:CONT, pid)
        run_what_can(selector)
        expect(waiter).not_to be_done
        Process.kill(:KILL, pid)
        expect(finished(selector, waiter)).to be_signaled
      end
    end

    { "raised into" => ->(fiber) { fiber.raise(IndexError, "from outside") },
      "killed" => lambda(&:kill) }.each do |how, interrupt|
      it "ends when its fiber is #{how}, and another call can wait for the child",
         io_event_hangs: { EPoll: "does not see its end when the descriptor has the same number again",
                           Select: "its thread may reap the child for nobody" } do
        scheduling do |selector, _|
          [1, -1].each do |sign|
            pid, writer = waiting_child(6, pgroup: true)
            ended = []
            fiber = Fiber.new do
              wait_for_child(selector, sign * pid)
            rescue IndexError => error
              ended << error.message
            ensure
              ended << :ensure
            end
            fiber.transfer
            selector.select(0)
            interrupt.call(fiber)
            run_until(selector) { ended.include?(:ensure) }
            expect(ended).to eq(how == "killed" ? [:ensure] : ["from outside", :ensure])
            writer.write("x")
            again = started { wait_for_child(selector, sign * pid) }
            expect(finished(selector, again)).to have_attributes(pid:, exitstatus: 6)
          end
        end
      end
    end

    it "returns false to a fiber that somebody resumes without an event, or waits on",
       io_event: { Select: "returns nil" },
       io_event_hangs: { EPoll: "does not see the child's end when it is waited for again" } do
      scheduling do |selector, _|
        pid, writer = waiting_child(8)
        waiter = started { wait_for_child(selector, pid) }
        selector.select(0)
        waiter.fiber.transfer
        if waiter.done?
          expect(waiter.value).to be(false)
          waiter = started { wait_for_child(selector, pid) }
        end
        writer.write("x")
        expect(finished(selector, waiter)).to have_attributes(pid:, exitstatus: 8)
      end
    end

    it "lets two fibers wait for the same child: one gets it, the other learns that it is gone" do
      scheduling do |selector, _|
        pid, writer = waiting_child
        waiters = Array.new(2) { started { wait_for_child(selector, pid) } }
        selector.select(0)
        writer.write("x")
        run_until(selector) { waiters.all?(&:done?) }
        expect(waiters.map { |waiter| waiter.value.pid }).to contain_exactly(pid, -1)
      end
    end

    it "leaves no thread, child or descriptor behind, many times over" do
      scheduling do |selector, _|
        before = [Leaks::State.open_descriptors.size, Thread.list.size]
        10.times do
          tasks = Array.new(4) do
            pid = Process.spawn("exit 0")
            started { wait_for_child(selector, pid).exitstatus }
          end
          run_until(selector) { tasks.all?(&:done?) }
          expect(tasks.map(&:value)).to all(eq(0))
        end
        after = [Leaks::State.open_descriptors.size, Thread.list.size]
        expect(after.zip(before)).to all(satisfy { |now, then_| now <= then_ })
      end
    end

    it "also works without a scheduler" do
      selecting do |selector, _|
        pid = Process.spawn("exit 9")
        expect(served(selector) { wait_for_child(selector, pid) }).to have_attributes(pid:, exitstatus: 9)
      end
    end
  end
end
