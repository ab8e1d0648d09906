# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#kernel_sleep" do
  each_backend do |backend|
    it "lets another fiber get its input soon while one computes for long between calls of sleep(0)" do
      step = nil
      seen = nil
      scheduled do
        reader, writer = IO.pipe
        Fiber.schedule do
          reader.getc
          seen = step
        end
        Fiber.schedule do
          20.times do |number|
            step = number
            writer.write("x") if number == 2
            # Longer than one tick of the system's clock.
            start = monotonic
            nil while monotonic - start < 0.012
            sleep(0)
          end
        end
      end
      expect(seen).to be < 6
    end

    it "sleeps at least as long as asked, in Integers, Floats and Rationals" do
      scheduled do
        [0.02, 0.003r, 1/100r, 0].each do |seconds|
          start = monotonic
          sleep(seconds)
          expect(monotonic - start).to be >= seconds
        end
      end
    end

    it "lets other fibers run meanwhile" do
      order = []
      scheduled do
        Fiber.schedule do
          order << :sleeps
          sleep(0.03)
          order << :wakes
        end
        Fiber.schedule do
          order << :short
          sleep(0.001)
          order << :short_wakes
        end
      end
      expect(order).to eq(%i[sleeps short short_wakes wakes])
    end

    it "wakes in the order of the deadlines, whatever the order of the calls", hurried: true do
      order = []
      scheduled do
        [5, 1, 4, 2, 3].each do |step|
          Fiber.schedule do
            sleep(step * 0.01)
            order << step
          end
        end
      end
      expect(order).to eq([1, 2, 3, 4, 5])
    end

    # Runs in a program of its own: the stacks of so many fibers would make every later fork slow.
    it "wakes 10,000 sleepers, none before its time" do
      result = child(<<~RUBY, backend)
        woken = early = 0
        UringIO.run(backend: ARGV[0].to_sym) do
          10_000.times do |index|
            Fiber.schedule do
              due = Process.clock_gettime(Process::CLOCK_MONOTONIC) + (index % 100 / 1000.0)
              sleep(index % 100 / 1000.0)
              woken += 1
              early += 1 if Process.clock_gettime(Process::CLOCK_MONOTONIC) < due
            end
          end
        end
        puts "woken \#{woken}, early \#{early}"
      RUBY
      expect([result.stderr, result.stdout]).to eq(["", "woken 10000, early 0\n"])
    end

    it "sleeps until an unblock without an argument or with nil" do
      woken = []
      scheduled do |scheduler|
        sleepers = [Fiber.schedule { woken << :no_argument if sleep },
                    Fiber.schedule { woken << :nil if scheduler.kernel_sleep(nil) }]
        let_others_run
        expect(woken).to be_empty
        sleepers.each { |fiber| scheduler.unblock(:label, fiber) }
      end
      expect(woken).to eq(%i[no_argument nil])
    end

    it "sleeps until an unblock for durations beyond the clock" do
      scheduled do |scheduler|
        woken = []
        sleepers = [2**62, Float::INFINITY].map do |long|
          Fiber.schedule { woken << long if scheduler.kernel_sleep(long) }
        end
        let_others_run
        expect(woken).to be_empty
        sleepers.each { |fiber| scheduler.unblock(:label, fiber) }
        let_others_run
        expect(woken).to eq([2**62, Float::INFINITY])
      end
    end

    it "lets all ready fibers run first for sleep(0)" do
      order = []
      scheduled do
        Fiber.schedule do
          sleep(0)
          order << :first
          sleep(0)
          order << :third
        end
        sleep(0)
        order << :second
        sleep(0)
        order << :fourth
      end
      expect(order).to eq(%i[first second third fourth])
    end

    it "keeps IO and timers going beside two fibers that only yield" do
      scheduled do
        reader, writer = pipe
        stop = false
        2.times { Fiber.schedule { sleep(0) until stop } }
        arrived = []
        Fiber.schedule { arrived << reader.readpartial(1) }
        Fiber.schedule { arrived << :timer if sleep(0.01) }
        writer.write("x")
        sleep(0) until arrived.size == 2
        stop = true
        expect(arrived).to contain_exactly("x", :timer)
      end
    end

    it "refuses the same arguments as Ruby's own sleep, with the same errors" do
      [-1, -0.001, "1", :forever, [], Object.new, Float::NAN, -Float::INFINITY].each do |wrong|
        plain = raised { sleep(wrong) }
        under_scheduler = scheduled { raised { sleep(wrong) } }
        expect([under_scheduler.class, under_scheduler.message]).to eq([plain.class, plain.message])
      end
    end

    it "refuses more than one argument" do
      scheduled { |scheduler| expect { scheduler.kernel_sleep(1, 2) }.to raise_error(ArgumentError) }
    end
  end
end
