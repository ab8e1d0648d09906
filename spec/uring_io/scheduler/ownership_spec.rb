# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "made in one thread and used in another" do
  each_backend do |backend|
    # Ways in which a thread may use a scheduler first.
    uses = {
      "Fiber.schedule" => ->(*) { Fiber.schedule { nil } },
      "a fiber that waits" => ->(*) { Fiber.schedule { sleep(0.001) } },
      "run" => ->(scheduler) { scheduler.run },
      "a hook that is called by hand" => ->(scheduler) { scheduler.kernel_sleep(0) },
      "block" => ->(scheduler) { scheduler.block(:label, 0.001) }
    }

    # The block's value or exception, from another thread.
    def elsewhere(&)
      in_thread(&)
    end

    it "closes at the end of the thread that has set it, used or not" do
      [-> {}, -> { Fiber.schedule { sleep(0.001) } }].each do |use|
        scheduler = new_scheduler
        elsewhere do
          Fiber.set_scheduler(scheduler)
          use.call
        end
        expect(scheduler).to be_closed
      end
    end

    it "closes when the thread sets nil in its place" do
      scheduler = new_scheduler
      elsewhere do
        Fiber.set_scheduler(scheduler)
        expect(scheduler).not_to be_closed
        Fiber.set_scheduler(nil)
        expect(scheduler).to be_closed
      end
    end

    it "works fully in the thread that has set it" do
      scheduler = new_scheduler(workers: 1)
      order = []
      elsewhere do
        Fiber.set_scheduler(scheduler)
        Fiber.schedule do
          input, output = tcp_pair
          path = file_with("content")
          Fiber.schedule { order << input.readpartial(5) << File.read(path) }
          Fiber.schedule { order << :timer if sleep(0.001) }
          Fiber.schedule { order << Process.wait(spawn("true")).class }
          thread = Thread.new { :value }
          order << thread.value
          output.write("bytes")
        end
      end
      expect(order).to contain_exactly("bytes", "content", :timer, Integer, :value)
    end

    uses.each do |name, use|
      it "belongs to the thread that uses it first through #{name}" do
        scheduler = new_scheduler
        elsewhere do
          Fiber.set_scheduler(scheduler)
          use.call(scheduler)
          error = Thread.new { raised { scheduler.kernel_sleep(0) } }.value
          expect(error).to be_a(ThreadError)
        end
        expect(scheduler).to be_closed
      end
    end

    it "belongs to its maker when its maker uses it first" do
      in_thread do
        scheduler = new_scheduler
        scheduler.kernel_sleep(0)
        expect(elsewhere { raised { scheduler.kernel_sleep(0) } }).to be_a(ThreadError)
        scheduler.close
      end
    end

    it "answers any thread before its first use, without belonging to that thread" do
      scheduler = new_scheduler
      fiber = Fiber.current
      elsewhere do
        expect(scheduler.backend).to eq(backend)
        expect(scheduler).not_to be_closed
        expect(scheduler.stats).to include(enters: 0, submissions: 0, switches: 0)
        scheduler.unblock(:label, fiber)
        scheduler.fiber_interrupt(fiber, IOError.new)
      end
      elsewhere do
        expect(scheduler.kernel_sleep(0)).to be(true)
        scheduler.close
      end
      expect(scheduler).to be_closed
      expect(scheduler.backend).to eq(backend)
    end

    it "closes in any thread before its first use, and cannot be used afterwards" do
      scheduler = new_scheduler
      elsewhere { scheduler.close }
      expect(scheduler).to be_closed
      expect(scheduler.close).to be_nil
      expect { scheduler.kernel_sleep(0) }.to raise_error(UringIO::ClosedError)
      expect { elsewhere { scheduler.run } }.to raise_error(UringIO::ClosedError)
    end

    it "leaves no descriptor open, used or not" do
      elsewhere { new_scheduler.close }
      before = Dir.children("/proc/self/fd").size
      20.times do |index|
        scheduler = new_scheduler
        elsewhere do
          Fiber.set_scheduler(scheduler)
          Fiber.schedule { sleep(0) } if index.even?
        end
      end
      expect(Dir.children("/proc/self/fd").size).to eq(before)
    end

    it "works in a forked child, and in its parent" do
      result = child(<<~'RUBY', backend)
        scheduler = UringIO::Scheduler.new(backend: ARGV[0].to_sym)
        work = lambda do |name|
          Fiber.set_scheduler(scheduler)
          Fiber.schedule do
            reader, writer = IO.pipe
            Fiber.schedule { puts "#{name} #{reader.gets}" }
            sleep(0.001)
            writer.puts("reads")
          end
          Fiber.set_scheduler(nil)
          puts "#{name} #{scheduler.closed?}"
        end
        Process.wait(fork { Thread.new { work.call("child") }.join })
        puts "parent #{scheduler.closed?}"
        work.call("parent")
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("child reads\nchild true\nparent false\nparent reads\nparent true\n")
    end

    it "is removed from a child that forks before the first use, and stays set in the parent" do
      result = child(<<~'RUBY', backend)
        Fiber.set_scheduler(UringIO::Scheduler.new(backend: ARGV[0].to_sym))
        Process.wait(fork { puts "child #{Fiber.scheduler.inspect}" })
        Fiber.schedule { puts "parent #{sleep(0.001)}" }
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("child nil\nparent 0\n")
    end
  end
end
