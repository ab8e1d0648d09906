# frozen_string_literal: true

RSpec.describe "UringIO::Selector, its ready list" do
  # An object, other than a fiber, that schedulers push.
  def entry(alive: true, &block)
    Class.new do
      attr_reader :asked

      define_method(:alive?) do
        @asked = true
        alive.respond_to?(:call) ? alive.call : alive
      end
      define_method(:transfer) { |*arguments| block.call(*arguments) }
    end.new
  end

  each_selector do
    describe "#transfer" do
      it "goes to the loop fiber, and returns the value of the next transfer to the fiber" do
        selecting do |selector, _|
          seen = []
          fiber = parked(selector, seen)
          fiber.transfer
          fiber.transfer(:one)
          fiber.transfer(:one, :two)
          expect(seen).to eq([nil, :one, %i[one two]])
        end
      end

      it "does not make the fiber ready" do
        selecting do |selector, _|
          seen = []
          parked(selector, seen)
          expect(selector).not_to be_ready
          run_what_can(selector)
          expect(seen).to eq([])
        end
      end

      it "returns nil at once on the loop fiber itself" do
        selecting { |selector, _| expect(selector.transfer).to be_nil }
      end
    end

    describe "#push" do
      it "makes a fiber run in the next select, which passes it no value" do
        selecting do |selector, _|
          seen = []
          fiber = parked(selector, seen)
          selector.push(fiber)
          expect(seen).to eq([])
          selector.select(0)
          expect(seen).to eq([nil])
          selector.select(0)
          expect(seen).to eq([nil])
        end
      end

      it "starts a fiber that has not run yet" do
        selecting do |selector, _|
          started = []
          selector.push(Fiber.new { |*arguments| started << arguments })
          selector.select(0)
          expect(started).to eq([[]])
        end
      end

      it "lets the calling fiber go on afterwards" do
        selecting do |selector, _|
          order = []
          fiber = parked(selector, order)
          started do
            selector.push(fiber)
            order << :goes_on
          end
          selector.select(0)
          expect(order).to eq([:goes_on, nil])
        end
      end

      it "transfers twice to a fiber that was pushed twice" do
        selecting do |selector, _|
          seen = []
          fiber = parked(selector, seen)
          2.times { selector.push(fiber) }
          selector.select(0)
          expect(seen).to eq([nil, nil])
          selector.select(0)
          expect(seen.size).to eq(2)
        end
      end

      it "skips fibers that are dead when their turn comes" do
        selecting do |selector, _|
          order = []
          dead = Fiber.new { nil }
          dead.transfer
          dies = parked(selector)
          twice = Fiber.new { order << :once }
          selector.push(dead)
          selector.push(dies)
          2.times { selector.push(twice) }
          selector.push(parked(selector, order))
          expect(raised { dies.raise("ends") }).to be_a(RuntimeError)
          expect(selector.select(0)).to eq(0)
          expect(order).to eq([:once, nil])
          expect(selector).not_to be_ready
        end
      end
    end

    describe "entries that are no fibers" do
      it "get a call of alive? when their turn comes, and then a transfer without arguments" do
        selecting do |selector, _|
          given = []
          item = entry { |*arguments| given << arguments }
          selector.push(item)
          expect(item.asked).to be_nil
          selector.select(0)
          expect(item.asked).to be(true)
          expect(given).to eq([[]])
        end
      end

      it "are skipped when they are not alive" do
        selecting do |selector, _|
          order = []
          alive = true
          selector.push(entry(alive: false) { order << :never })
          selector.push(entry(alive: nil) { order << :never })
          selector.push(entry(alive: -> { alive }) { order << :never })
          selector.push(entry { order << :runs })
          alive = false
          selector.select(0)
          expect(order).to eq([:runs])
          expect(selector).not_to be_ready
        end
      end

      it "keep their place among the fibers" do
        selecting do |selector, _|
          order = []
          selector.push(Fiber.new { order << 1 })
          selector.push(entry { order << 2 })
          started do
            selector.yield
            order << 3
          end
          selector.push(entry { order << 4 })
          selector.push(Fiber.new { order << 5 })
          selector.select(0)
          expect(order).to eq([1, 2, 3, 4, 5])
        end
      end

      it "may push, resume, and raise in fibers when their turn comes" do
        selecting do |selector, _|
          order = []
          cancelled = started do
            selector.transfer
          rescue IndexError => error
            order << error.message
          end
          resumed = parked(selector, order)
          pushed = parked(selector, order)
          selector.push(entry do
            selector.push(pushed)
            selector.resume(resumed, :resumed)
            selector.raise(cancelled.fiber, IndexError, "cancelled")
            order << :goes_on
          end)
          selector.select(0)
          expect(order).to eq([:resumed, "cancelled", :goes_on])
          selector.select(0)
          expect(order.drop(3)).to eq([nil])
          expect(selector).not_to be_ready
        end
      end

      it "make select raise NoMethodError when they have no alive?, and the next entries run in the next one" do
        selecting do |selector, _|
          order = []
          selector.push(Object.new)
          selector.push(parked(selector, order))
          expect { selector.select(0) }.to raise_error(NoMethodError, /alive\?/)
          expect(order).to eq([])
          selector.select(0)
          expect(order).to eq([nil])
        end
      end
    end

    describe "#resume" do
      it "runs the fiber at once, with the arguments" do
        selecting do |selector, _|
          given = []
          selector.resume(Fiber.new { |*arguments| given << arguments }, 1, :two)
          selector.resume(Fiber.new { |*arguments| given << arguments })
          seen = []
          selector.resume(parked(selector, seen), :three)
          expect(given).to eq([[1, :two], []])
          expect(seen).to eq([:three])
        end
      end

      it "makes the caller ready, behind the entries that were ready before" do
        selecting do |selector, _|
          order = []
          selector.push(Fiber.new { order << :ready_before })
          caller = started do
            order << :calls
            selector.resume(Fiber.new { order << :resumed })
            order << :goes_on
          end
          expect(order).to eq(%i[calls resumed])
          expect(selector).to be_ready
          selector.select(0)
          expect(order).to eq(%i[calls resumed ready_before goes_on])
          expect(caller).to be_done
        end
      end

      it "returns nil to a caller that select runs, and otherwise the value of the transfer to it" do
        selecting do |selector, _|
          others = Array.new(2) { parked(selector) }
          caller = started { others.map { |other| selector.resume(other) } }
          selector.select(0)
          caller.fiber.transfer(:given)
          expect(caller.value).to eq([nil, :given])
        end
      end

      it "accepts the loop fiber as a caller" do
        selecting do |selector, _|
          order = []
          selector.resume(Fiber.new do
            order << :begins
            selector.transfer
          end)
          order << :loop
          selector.resume(Fiber.new do
            order << :yields
            selector.yield
            order << :again
          end)
          selector.select(0)
          expect(order).to eq(%i[begins loop yields again])
        end
      end

      it "returns from a fiber that is already dead" do
        selecting do |selector, _|
          dead = Fiber.new { nil }
          dead.transfer
          caller = started { raised { selector.resume(dead) } }
          run_what_can(selector)
          expect(caller.value).to be_nil.or be_a(FiberError)
          expect(selector).not_to be_ready
        end
      end

      it "raises the error of a failed transfer to the fiber" do
        selecting do |selector, _|
          foreign = nil
          Thread.new { foreign = Fiber.new { nil } }.join
          caller = started { raised { selector.resume(foreign) } }
          run_what_can(selector)
          expect(caller.value).to be_a(FiberError)
        end
      end

      it "needs a fiber" do
        selecting do |selector, _|
          expect { selector.resume }.to raise_error(ArgumentError)
          expect(selector).not_to be_ready
        end
      end
    end

    describe "#yield" do
      it "goes to the loop fiber, and goes on in the next select" do
        selecting do |selector, _|
          order = []
          started do
            order << :yields
            selector.yield
            order << :goes_on
          end
          order << :loop
          expect(selector).to be_ready
          selector.select(0)
          expect(order).to eq(%i[yields loop goes_on])
        end
      end

      it "returns nil when select runs the fiber, and otherwise the value of the transfer to it" do
        selecting do |selector, _|
          task = started { Array.new(2) { selector.yield } }
          selector.select(0)
          task.fiber.transfer(:given)
          expect(task.value).to eq([nil, :given])
        end
      end

      it "returns nil at once on the loop fiber itself" do
        selecting { |selector, _| expect(selector.yield).to be_nil }
      end
    end

    describe "the entry of a caller" do
      { "#yield" => ->(selector, _) { selector.yield },
        "#resume" => ->(selector, other) { selector.resume(other) },
        "#raise" => ->(selector, other) { selector.raise(other, IndexError, "woken") } }.each do |method, leave|
        it "of #{method} is gone when the caller got control by another transfer" do
          selecting do |selector, _|
            later = []
            other = started { loop { raised { selector.transfer } } }.fiber
            caller = started do
              leave.call(selector, other)
              loop { later << selector.transfer }
            end
            caller.fiber.transfer
            run_what_can(selector)
            expect(later).to eq([])
          end
        end

        it "of #{method} is gone when the caller got control by an exception" do
          selecting do |selector, _|
            later = []
            other = started { loop { raised { selector.transfer } } }.fiber
            caller = started do
              later << raised { leave.call(selector, other) }.class
              loop { later << selector.transfer }
            end
            caller.fiber.raise(KeyError, "to the caller")
            run_what_can(selector)
            expect(later).to eq([KeyError])
          end
        end
      end

      it "is gone at once, before its turn comes", io_event: { Select: "empties the entry, and keeps it" } do
        selecting do |selector, _|
          selector.yield
          expect(selector).not_to be_ready
          other = started { loop { raised { selector.transfer } } }.fiber
          [-> { selector.yield }, -> { selector.resume(other) }, -> { selector.raise(other, IndexError, "woken") }]
            .each do |call|
            started { call.call && selector.transfer }.fiber.transfer(:back)
            expect(selector).not_to be_ready
          end
        end
      end

      it "is one of several of the same fiber: only the entry of the ended call goes" do
        selecting do |selector, _|
          seen = []
          fiber = nil
          task = started do
            fiber = Fiber.current
            selector.push(fiber)
            selector.yield
            seen << :from_push
            seen << selector.transfer
          end
          selector.push(fiber)
          selector.select(0)
          expect(seen).to eq([:from_push, nil])
          expect(task).to be_done
        end
      end
    end

    describe "one select" do
      it "runs the entries in the order in which they were pushed" do
        selecting do |selector, _|
          order = []
          10.times { |index| selector.push(Fiber.new { order << index }) }
          selector.select(0)
          expect(order).to eq((0..9).to_a)
        end
      end

      it "runs the entries that were there when it began, and leaves new ones to the next select" do
        selecting do |selector, _|
          order = []
          late = entry { order << :late }
          selector.push(Fiber.new do
            order << :first
            selector.push(late)
          end)
          selector.push(entry do
            order << :second
            selector.push(late)
          end)
          selector.select(0)
          expect(order).to eq(%i[first second])
          expect(selector).to be_ready
          selector.select(0)
          expect(order).to eq(%i[first second late late])
        end
      end

      it "runs a fiber that yields again and again only once" do
        selecting do |selector, _|
          rounds = 0
          started { loop { (rounds += 1) && selector.yield } }
          3.times { |index| expect([selector.select(0), rounds]).to eq([0, index + 2]) }
        end
      end

      it "runs an entry that pushes itself again and again only once" do
        selecting do |selector, _|
          rounds = 0
          again = entry { (rounds += 1) && selector.push(again) }
          selector.push(again)
          3.times { |index| expect([selector.select(nil), rounds]).to eq([0, index + 1]) }
        end
      end

      it "leaves entries that woken fibers push to the next select" do
        selecting do |selector, _|
          reader, writer = pipe
          order = []
          waiter = started do
            wait_for(selector, reader, IO::READABLE)
            selector.push(Fiber.new { order << :pushed })
            selector.yield
            order << :yielded
          end
          selector.select(0)
          writer.write("x")
          selector.select(nil) until selector.ready?
          expect(order).to eq([])
          selector.select(0)
          expect(order).to eq(%i[pushed yielded])
          expect(waiter).to be_done
        end
      end

      it "raises an exception of an entry, and the next select runs the other entries" do
        selecting do |selector, _|
          order = []
          selector.push(Fiber.new { order << :before })
          selector.push(Fiber.new { raise IndexError, "of a fiber" })
          selector.push(Fiber.new { order << :between })
          selector.push(entry { raise KeyError, "of an entry" })
          selector.push(Fiber.new { order << :behind })
          expect { selector.select(0) }.to raise_error(IndexError, "of a fiber")
          expect(order).to eq([:before])
          expect(selector).to be_ready
          expect { selector.select(nil) }.to raise_error(KeyError, "of an entry")
          expect(order).to eq(%i[before between])
          selector.select(nil)
          expect(order).to eq(%i[before between behind])
          expect(selector).not_to be_ready
        end
      end

      it "may end by throw, and the next select runs the other entries" do
        selecting do |selector, _|
          order = []
          selector.push(entry { throw :out, :thrown })
          selector.push(Fiber.new { order << :behind })
          expect(catch(:out) { selector.select(0) }).to eq(:thrown)
          selector.select(0)
          expect(order).to eq([:behind])
        end
      end

      it "raises FiberError for a fiber of another thread, and the next select runs the other entries" do
        selecting do |selector, _|
          order = []
          foreign = nil
          Thread.new { foreign = Fiber.new { order << :never } }.join
          selector.push(foreign)
          selector.push(Fiber.new { order << :behind })
          expect { selector.select(0) }.to raise_error(FiberError)
          selector.select(0)
          expect(order).to eq([:behind])
        end
      end

      it "runs ten thousand entries" do
        selecting do |selector, _|
          count = 0
          item = entry { count += 1 }
          10_000.times { selector.push(item) }
          selector.select(0)
          expect(count).to eq(10_000)
        end
      end
    end

    describe "#ready?" do
      it "is true while the list has entries, and false while the last one runs" do
        selecting do |selector, _|
          states = [selector.ready?]
          selector.push(Fiber.new { states << selector.ready? })
          selector.push(Fiber.new { states << selector.ready? })
          states << selector.ready?
          selector.select(0)
          states << selector.ready?
          expect(states).to eq([false, true, true, false, false])
        end
      end

      it "does not count fibers that wait for IO" do
        selecting do |selector, _|
          reader, writer = pipe
          waiter = started { wait_for(selector, reader, IO::READABLE) }
          writer.write("x")
          expect(selector).not_to be_ready
          finished(selector, waiter)
        end
      end
    end
  end
end
