# frozen_string_literal: true

RSpec.describe "UringIO::Selector#raise" do
  # An exception that keeps the arguments from which it was made.
  let(:curious) do
    Class.new(StandardError) do
      attr_reader :given

      def initialize(*given)
        @given = given
        super("curious")
      end
    end
  end

  each_selector do
    # The exception that a waiting fiber gets for these arguments of raise.
    def arriving(*, **)
      selecting do |selector, _|
        target = started { selector.transfer }
        selector.raise(target.fiber, *, **)
        target.error
      end
    end

    it "raises a class, a class with a message, an exception, or a message" do
      expect(arriving(IndexError)).to be_a(IndexError)
      expect(arriving(IndexError, "sent")).to be_a(IndexError).and have_attributes(message: "sent")
      error = KeyError.new("made before")
      expect(arriving(error)).to be(error)
      expect(arriving("only a message")).to be_a(RuntimeError).and have_attributes(message: "only a message")
    end

    it "passes a backtrace on" do
      expect(arriving(IndexError, "sent", ["somewhere:1"]).backtrace).to eq(["somewhere:1"])
    end

    it "makes the exception from exactly the given arguments" do
      expect(arriving(curious).given).to eq([])
      expect(arriving(curious, :message).given).to eq([:message])
      expect(arriving(curious, nil).given).to eq([nil])
      expect(arriving(curious, { key: 1 }).given).to eq([{ key: 1 }])
    end

    it "passes cause: on, which is the cause from Ruby 4.0 on and the message before" do
      cause = KeyError.new("the cause")
      error = arriving(curious, cause:)
      if RUBY_VERSION >= "4.0"
        expect([error.given, error.cause]).to eq([[], cause])
      else
        expect(error.given).to eq([{ cause: }])
      end
    end

    it "treats cause: beside a message just as Fiber#raise does" do
      cause = KeyError.new("the cause")
      direct = in_thread do
        fiber = Fiber.new { raised { Fiber.yield } }
        fiber.resume
        raised { fiber.raise(curious, "sent", cause:) } || :accepted
      end
      through = raised { arriving(curious, "sent", cause:) } || :accepted
      expect(through.class).to eq(direct.class)
    end

    it "raises in the fiber at once, and makes the caller ready" do
      selecting do |selector, _|
        order = []
        target = Fiber.new do
          selector.transfer
        rescue IndexError
          order << :rescued
          selector.transfer
        end
        target.transfer
        caller = started do
          order << :raises
          order << [:back, selector.raise(target, IndexError, "sent")]
        end
        expect(order).to eq(%i[raises rescued])
        expect(selector).to be_ready
        selector.select(0)
        expect(order).to eq([:raises, :rescued, [:back, nil]])
        expect(caller).to be_done
      end
    end

    it "returns at once to a loop fiber whose target ends" do
      selecting do |selector, _|
        target = started { selector.transfer }
        order = [:raises]
        selector.push(Fiber.new { order << :ready })
        selector.raise(target.fiber, IndexError, "sent")
        order << :back
        selector.select(0)
        expect(target).to be_done
        expect(order).to eq(%i[raises back ready])
      end
    end

    it "returns the value that somebody transfers to the caller" do
      selecting do |selector, _|
        target = started { loop { raised { selector.transfer } } }
        caller = started { selector.raise(target.fiber, IndexError, "sent") }
        caller.fiber.transfer(:given)
        expect(caller.value).to eq(:given)
      end
    end

    it "lets an exception that the fiber does not rescue reach the loop fiber" do
      selecting do |selector, _|
        target = parked(selector)
        caller = Fiber.new { selector.raise(target, IndexError, "sent") }
        expect { caller.transfer }.to raise_error(IndexError, "sent")
        expect(target).not_to be_alive
        expect(selector).to be_ready
        selector.select(0)
        expect(caller).not_to be_alive
      end
    end

    it "raises Fiber#raise's own errors in the caller, and leaves no entry for the caller" do
      selecting do |selector, _|
        dead = Fiber.new { nil }
        dead.transfer
        [dead, Fiber.new { nil }].each do |target|
          caller = started { raised { selector.raise(target, IndexError, "sent") } }
          expect(caller.value).to be_a(FiberError)
        end
        target = parked(selector)
        caller = started { raised { selector.raise(target, Object) } }
        expect(caller.value).to be_a(TypeError)
        expect(target).to be_alive
        run_what_can(selector)
      end
    end

    it "raises in the caller when the caller is the target" do
      selecting do |selector, _|
        caller = started { selector.raise(Fiber.current, IndexError, "sent") }
        expect(caller.error).to be_a(IndexError).and have_attributes(message: "sent")
      end
    end

    it "ends every kind of wait of a fiber, and that wait does not wake the fiber later" do
      selecting do |selector, _|
        reader, writer = pipe
        waits = { transfer: -> { selector.transfer }, yield: -> { selector.yield },
                  resume: -> { selector.resume(parked(selector)) },
                  io_wait: -> { wait_for(selector, reader, IO::READABLE) },
                  io_read: -> { selector.io_read(Fiber.current, reader, IO::Buffer.new(4), *range(4)) } }
        waits.delete(:io_read) if Contract::OFFSET_FIRST
        waits.each do |name, wait|
          later = []
          target = started do
            later << raised(&wait).class
            loop { later << selector.transfer }
          end
          selector.raise(target.fiber, IndexError, "sent")
          run_until(selector) { later.any? }
          writer.write("x")
          run_what_can(selector)
          reader.read_nonblock(1)
          expect([name, later]).to eq([name, [IndexError]])
        end
      end
    end
  end
end
