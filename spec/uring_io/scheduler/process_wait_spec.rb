# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#process_wait" do
  each_backend do |_backend|
    # A child that exits with this status when it gets a byte through the pipe.
    def waiting_child(reader, status)
      Process.spawn("head -c 1 >/dev/null; exit #{status}", in: reader)
    end

    it "parks until the child ends, and sets $?" do
      order = []
      scheduled do
        reader, writer = pipe
        pid = waiting_child(reader, 7)
        Fiber.schedule do
          order << :waits
          Process.wait(pid)
          order << [$?.pid == pid, $?.exitstatus]
        end
        order << :lets_it_end
        writer.write("x")
      end
      expect(order).to eq([:waits, :lets_it_end, [true, 7]])
    end

    it "waits for several children at once, in the order in which they end" do
      order = []
      scheduled do
        children = Array.new(3) { |index| pipe.then { |reader, writer| [waiting_child(reader, index), writer] } }
        children.each { |pid, _| Fiber.schedule { order << Process.wait2(pid).last.exitstatus } }
        [1, 2, 0].each_with_index do |index, done|
          children[index].last.write("x")
          eventually { order.size > done }
        end
      end
      expect(order).to eq([1, 2, 0])
    end

    it "waits for any child with pid -1, while other fibers run" do
      order = []
      scheduled do
        reader, writer = pipe
        waiting_child(reader, 5)
        Fiber.schedule do
          Process.wait
          order << $?.exitstatus
        end
        let_others_run
        order << :other
        writer.write("x")
      end
      expect(order).to eq([:other, 5])
    end

    it "reports that a signal ended the child" do
      scheduled do
        pid = Process.spawn("sleep 60")
        Fiber.schedule { Process.kill(:KILL, pid) }
        Process.wait(pid)
        expect($?.termsig).to eq(Signal.list.fetch("KILL"))
      end
    end

    it "works for system, backticks and IO.popen" do
      scheduled do
        expect(system("exit 3")).to be(false)
        expect($?.exitstatus).to eq(3)
        expect(`echo output`).to eq("output\n")
        expect($?).to be_success
        IO.popen(["cat"], "r+") do |cat|
          cat.write("through")
          cat.close_write
          expect(cat.read).to eq("through")
        end
        expect($?).to be_success
      end
    end

    it "raises Errno::ECHILD when there is no such child" do
      scheduled do
        expect { Process.wait(Process.pid) }.to raise_error(Errno::ECHILD)
        expect { Process.wait((2**22) + 1) }.to raise_error(Errno::ECHILD)
      end
    end

    it "returns a Process::Status, with pid -1 when there is no such child" do
      scheduled do |scheduler|
        expect(scheduler.process_wait(Process.spawn("exit 4"), 0)).to be_a(Process::Status)
          .and have_attributes(exitstatus: 4)
        expect(scheduler.process_wait(Process.pid, 0)).to be_a(Process::Status).and have_attributes(pid: -1)
      end
    end

    it "lets two fibers wait for the same child: one gets it, the other learns that it is gone" do
      results = []
      scheduled do
        reader, writer = pipe
        pid = waiting_child(reader, 0)
        2.times { Fiber.schedule { results << (raised { Process.wait(pid) } || :reaped) } }
        writer.write("x")
      end
      expect(results).to contain_exactly(:reaped, an_instance_of(Errno::ECHILD))
    end

    it "ends by a timeout, and another call can wait for the child" do
      scheduled do
        reader, writer = pipe
        pid = waiting_child(reader, 6)
        expect { Timeout.timeout(0.01) { Process.wait(pid) } }.to raise_error(Timeout::Error)
        writer.write("x")
        Process.wait(pid)
        expect($?.exitstatus).to eq(6)
      end
    end

    it "rejects an argument that is no process id" do
      scheduled do |scheduler|
        expect { scheduler.process_wait("1", 0) }.to raise_error(StandardError)
        expect { scheduler.process_wait(nil, 0) }.to raise_error(StandardError)
        expect { scheduler.process_wait(2**70, 0) }.to raise_error(RangeError)
        expect(scheduler.process_wait(Process.spawn("exit 0"), 0)).to be_success
      end
    end
  end
end
