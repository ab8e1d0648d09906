# frozen_string_literal: true

RSpec.describe UringIO, ".run" do
  each_backend do |backend|
    it "runs the block in a non-blocking fiber under a scheduler, and passes it the scheduler" do
      seen = in_thread do
        described_class.run(backend:) do |scheduler|
          [scheduler.equal?(Fiber.scheduler), Fiber.current_scheduler.equal?(scheduler), Fiber.current.blocking?,
           scheduler.backend]
        end
      end
      expect(seen).to eq([true, true, false, backend])
    end

    it "returns the block's value after every fiber has ended" do
      order = []
      value = in_thread do
        described_class.run(backend:) do
          Fiber.schedule { order << :fiber if sleep(0.01) }
          order << :block
          :value
        end
      end
      expect(value).to eq(:value)
      expect(order).to eq(%i[block fiber])
    end

    it "raises the block's exception after the other fibers have ended" do
      order = []
      expect do
        in_thread do
          described_class.run(backend:) do
            Fiber.schedule { order << :fiber if sleep(0.01) }
            raise IndexError, "mine"
          end
        end
      end.to raise_error(IndexError, "mine")
      expect(order).to eq([:fiber])
    end

    it "refuses inherit: without Rails" do
      expect { described_class.run(backend:, inherit: :execution_state) { raise "runs" } }
        .to raise_error(ArgumentError, /inherit: :execution_state needs Rails, which is not loaded/)
      expect(described_class.run(backend:, inherit: nil) { :value }).to eq(:value)
    end

    it "runs in the main thread, and leaves no scheduler behind", hurried: true do
      expect(described_class.run(backend:) { sleep(0) }).to eq(0)
      expect(Fiber.scheduler).to be_nil
      expect { described_class.run(backend:) { raise IndexError } }.to raise_error(IndexError)
      expect(Fiber.scheduler).to be_nil
    end

    it "restores the previous scheduler, with its fibers" do
      order = []
      on_root do |outer|
        Fiber.schedule { order << :outer if sleep(0.001) }
        expect(described_class.run(backend:) { (order << :inner) && Fiber.scheduler }).not_to be(outer)
        expect(Fiber.scheduler).to be(outer)
        expect(outer).not_to be_closed
        outer.run
      end
      expect(order).to eq(%i[inner outer])
    end

    it "runs in several threads at once, each with its own scheduler" do
      barrier = Thread::Queue.new
      threads = Array.new(3) do
        Thread.new do
          described_class.run(backend:) do |scheduler|
            barrier << :here
            eventually { barrier.size == 3 }
            scheduler
          end
        end
      end
      expect(threads.map(&:value).uniq(&:object_id).size).to eq(3)
    end

    it "lets exit and signals pass without waiting for the fibers" do
      expect do
        in_thread do
          described_class.run(backend:) do
            Fiber.schedule { sleep }
            exit(4)
          end
        end
      end.to raise_error(SystemExit) { |error| expect(error.status).to eq(4) }
    end

    it "refuses a block that throws to a tag outside" do
      error = raised { in_thread { catch(:outside) { described_class.run(backend:) { throw :outside } } } }
      expect(error).to be_a(UncaughtThrowError)
    end

    it "refuses to run inside a fiber of a scheduler" do
      scheduled { expect { described_class.run(backend:) { nil } }.to raise_error(UringIO::Error, /Fiber.schedule/) }
    end
  end

  it "needs a block" do
    expect { described_class.run }.to raise_error(ArgumentError, /block/)
    expect(Fiber.scheduler).to be_nil
  end

  it "refuses the same options as Scheduler.new, and leaves no scheduler behind" do
    expect { described_class.run(backend: :devpoll) { nil } }.to raise_error(ArgumentError)
    expect { described_class.run(color: :red) { nil } }.to raise_error(ArgumentError)
    expect(Fiber.scheduler).to be_nil
  end

  it "refuses to replace a scheduler of another kind" do
    foreign = Class.new do
      def block(*) = nil
      def unblock(*) = nil
      def kernel_sleep(*) = nil
      def io_wait(*) = nil
      def fiber_interrupt(*) = nil
    end
    in_thread do
      Fiber.set_scheduler(foreign.new)
      expect { described_class.run { nil } }.to raise_error(UringIO::Error, /thread of its own/)
    end
  end
end
