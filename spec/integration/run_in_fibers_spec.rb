# frozen_string_literal: true

RSpec.describe UringIO, ".run in a fiber" do
  # Ways to call a block in a fiber. Each returns the block's value.
  transferred = lambda do |**options, &block|
    root = Fiber.current
    value = nil
    failure = nil
    Fiber.new(**options) do
      value = block.call
    rescue Exception => error # rubocop:disable Lint/RescueException
      failure = error
    ensure
      root.transfer
    end.transfer
    raise failure if failure

    value
  end
  resumed = ->(**options, &block) { Fiber.new(**options, &block).resume }
  enumerated = ->(&block) { Enumerator.new { |yielder| yielder << block.call }.next }
  kinds = {
    "that was resumed" => resumed,
    "that was transferred to" => transferred,
    "that was transferred to and is blocking" => ->(&block) { transferred.call(blocking: true, &block) },
    "that was resumed by one that was transferred to" => ->(&block) { transferred.call { resumed.call(&block) } },
    "that a resumed one has transferred to" => ->(&block) { resumed.call { transferred.call(&block) } },
    "of an Enumerator" => enumerated,
    "of an Enumerator in one that was transferred to" => ->(&block) { transferred.call { enumerated.call(&block) } }
  }

  each_backend do |backend|
    kinds.each do |name, in_fiber|
      describe name do
        # Runs the block with UringIO.run in such a fiber, and checks that the thread has no scheduler afterwards.
        define_method(:run_there) do |&block|
          in_thread do
            in_fiber.call { described_class.run(backend:, &block) }
          ensure
            expect(Fiber.scheduler).to be_nil
          end
        end

        it "returns the block's value in that fiber, after the fibers that the block has started" do
          order = []
          value = run_there do
            Fiber.schedule { order << :short if sleep(0.001) }
            Fiber.schedule do
              Fiber.schedule { order << :inner if sleep(0.002) }
              order << :starts
            end
            Fiber.schedule { order << :at_once }
            sleep(0.005)
            Fiber.schedule { order << :long if sleep(0.01) }
            order << :block
            :done
          end
          expect(value).to eq(:done)
          expect(order).to eq(%i[starts at_once short inner block long])
        end

        it "raises the block's exception in that fiber" do
          order = []
          failing = lambda do
            run_there do
              Fiber.schedule { order << :fiber if sleep(0.005) }
              sleep(0.001)
              raise IndexError, "mine"
            end
          end
          expect(&failing).to raise_error(IndexError, "mine")
          expect(order).to eq([:fiber])
        end

        it "raises SystemExit in that fiber, from the block or from another fiber" do
          [-> { exit(4) }, -> { Fiber.schedule { exit(4) if sleep(0.001) } && sleep }].each do |exits|
            expect { run_there { exits.call } }.to raise_error(SystemExit) { |error| expect(error.status).to eq(4) }
          end
        end

        it "moves bytes, waits for threads and queues, resumes fibers, and times out" do
          seen = run_there do
            input, output = unix_pair
            reader = Thread::Queue.new
            written = Thread::Queue.new
            100.times { |index| Fiber.schedule { written << output.write(index.to_s) } }
            Fiber.schedule { reader << input.read }
            enumerator = Enumerator.new { |yielder| 3.times { |index| yielder << index if sleep(0.001) } }
            values = Array.new(3) { enumerator.next }
            timed_out = raised { Timeout.timeout(0.001) { sleep } }
            100.times { written.pop }
            output.close
            [reader.pop.size, values, timed_out.class, Thread.new { :thread }.value]
          end
          expect(seen).to eq([190, [0, 1, 2], Timeout::Error, :thread])
        end

        it "ends by Thread#raise, and shuts its fibers down" do
          order = []
          thread = Thread.new do
            Thread.current.report_on_exception = false
            in_fiber.call do
              described_class.run(backend:) do
                Fiber.schedule do
                  sleep
                ensure
                  order << :ensure
                end
                order << :waits
                sleep
              end
            end
          end
          eventually { order == [:waits] && thread.stop? }
          thread.raise(IndexError, "from outside")
          expect { thread.join }.to raise_error(IndexError, "from outside")
          expect(order).to eq(%i[waits ensure])
        end

        it "treats Fiber.yield, Fiber#raise and Fiber#kill as elsewhere" do
          seen = run_there do
            errors = []
            Fiber.schedule { errors << raised { Fiber.yield }.class }
            sleeper = Fiber.schedule { errors << raised { sleep }.class }
            sleeper.raise(IndexError)
            killed = Fiber.schedule { sleep }
            killed.kill
            errors << killed.alive?
          end
          expect(seen).to eq([FiberError, IndexError, false])
        end

        it "may run again, in turns with runs in the root fiber" do
          values = in_thread do
            Array.new(3) do |index|
              [in_fiber.call { described_class.run(backend:) { sleep(0) && index } }, described_class.run { :root }]
            end
          end
          expect(values).to eq([[0, :root], [1, :root], [2, :root]])
        end
      end
    end
  end
end
