# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#fiber_interrupt and #yield" do
  each_backend do |_backend|
    it "raises in a waiting fiber, also when another thread calls it" do
      raised = []
      scheduled do |scheduler|
        reader, = pipe
        socket, = unix_pair
        waits = [-> { reader.readpartial(1) }, -> { socket.readpartial(1) }, -> { sleep }, -> { Thread::Queue.new.pop }]
        fibers = waits.map do |wait|
          Fiber.schedule do
            wait.call
          rescue IOError => error
            raised << error.message
          end
        end
        scheduler.fiber_interrupt(fibers.shift, IOError.new("same thread"))
        Thread.new { fibers.each { |fiber| scheduler.fiber_interrupt(fiber, IOError.new("other thread")) } }
        eventually { raised.size == waits.size }
      end
      expect(raised.sort).to eq((["other thread"] * 3) + ["same thread"])
    end

    it "raises a copy of a frozen exception, with the backtrace of the wait: Ruby reuses one for all IOs" do
      got = nil
      error = IOError.new("stream closed").freeze
      scheduled do |scheduler|
        fiber = Fiber.schedule { got = raised { sleep } }
        scheduler.fiber_interrupt(fiber, error)
      end
      expect(got).to have_attributes(class: IOError, message: "stream closed", frozen?: false)
      expect(got.backtrace_locations.map(&:path)).to include(__FILE__)
      expect(error.backtrace).to be_nil
    end

    it "does nothing to a fiber that is about to go on or has ended" do
      order = []
      scheduled do |scheduler|
        fiber = Fiber.schedule { order << scheduler.block(:label, nil) }
        scheduler.unblock(:label, fiber)
        scheduler.fiber_interrupt(fiber, IOError.new("too late"))
        eventually { !fiber.alive? }
        scheduler.fiber_interrupt(fiber, IOError.new("far too late"))
      end
      expect(order).to eq([true])
    end

    it "calls raise on an object that stands for a wait, as Ruby 4.1 passes one" do
      told = []
      scheduled do |scheduler|
        proxy = Class.new do
          define_method(:alive?) { true }
          define_method(:raise) { |error| told << error }
        end
        scheduler.fiber_interrupt(proxy.new, :error)
        eventually { told.any? }
      end
      expect(told).to eq([:error])
    end

    it "raises TypeError for anything that is neither a fiber nor stands for a wait" do
      scheduled do |scheduler|
        [nil, "fiber", BasicObject.new].each do |object|
          expect { scheduler.fiber_interrupt(object, IOError.new) }.to raise_error(TypeError)
        end
        expect { scheduler.fiber_interrupt(Fiber.current, "error") }.to raise_error(TypeError)
      end
    end

    it "lets the other ready fibers run once" do
      order = []
      scheduled do |scheduler|
        Fiber.schedule do
          sleep(0)
          order << :other
        end
        scheduler.yield
        order << :back
      end
      expect(order).to eq(%i[other back])
    end
  end
end
