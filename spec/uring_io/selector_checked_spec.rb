# frozen_string_literal: true

require "uring_io/selector/checked"
require_relative "../support/signatures"

RSpec.describe UringIO::Selector::Checked do
  each_selector do
    # The block's value, from a thread of its own whose fiber is the loop fiber of a new, checked selector.
    def checking
      selecting { |selector, loop| yield described_class.new(selector), loop }
    end

    it "does the same as the selector when the program uses it correctly" do
      seen = []
      checking do |selector, loop|
        reader, writer = pipe
        expect(selector.loop).to be(loop)
        waiting = Fiber.new { seen << selector.io_wait(Fiber.current, reader, IO::READABLE) }
        turns = Fiber.new { seen << :first << selector.yield << :second }
        selector.resume(waiting)
        selector.push(turns)
        expect(selector).to be_ready
        expect(selector.wakeup).to be(false)
        selector.select(0)
        writer.write("x")
        selector.select(nil) until seen.include?(IO::READABLE)
        expect(selector.idle_duration).to be >= 0
        selector.close
        expect(selector).to be_closed
        selector.close
      end
      expect(seen).to contain_exactly(:first, nil, :second, IO::READABLE)
    end

    it "passes values, exceptions and keywords to the fiber of resume or raise" do
      checking do |selector|
        given = []
        fiber = Fiber.new do |*first|
          given << first
          selector.transfer
        rescue KeyError => error
          given << error.message << error.key
        end
        selector.resume(fiber, 1, 2)
        selector.raise(fiber, KeyError.new("raised", key: :here, receiver: nil))
        expect(given).to eq([[1, 2], "raised", :here])
      end
    end

    it "raises ArgumentError when a fiber waits for another fiber" do
      checking do |selector|
        reader, = pipe
        other = Fiber.new { nil }
        buffer = IO::Buffer.new(10)
        raised = []
        Fiber.new do
          raised << raised { selector.io_wait(other, reader, IO::READABLE) }
          raised << raised { selector.io_read(other, reader, buffer, *range(1)) }
          raised << raised { selector.io_write(other, reader, buffer, *range(1)) }
          raised << raised { selector.process_wait(other, Process.pid, 0) }
        end.transfer
        expect(raised).to all(be_an(ArgumentError)).and have_attributes(size: 4)
        expect(raised.first.message).to start_with("io_wait is called for #<Fiber:")
      end
    end

    it "raises FiberError for select outside of the loop fiber, and for select within select" do
      checking do |selector|
        raised = []
        Fiber.new { raised << raised { selector.select(0) } }.transfer
        nested = Object.new
        nested.define_singleton_method(:alive?) { true }
        again = -> { raised << raised { selector.select(0) } }
        nested.define_singleton_method(:transfer) { again.call }
        selector.push(nested)
        selector.select(0)
        expect(raised).to all(be_a(FiberError))
        expect(raised.map(&:message)).to match([/for the loop fiber/, /within itself/])
        selector.select(0)
      end
    end

    it "raises TypeError for an object that cannot be resumed, in push itself" do
      checking do |selector|
        expect { selector.push(:symbol) }.to raise_error(TypeError, /needs transfer and alive\?/)
        expect { selector.resume(nil) }.to raise_error(TypeError)
        expect(selector).not_to be_ready
      end
    end

    it "raises ThreadError in other threads, except in the methods that are for them" do
      checking do |selector|
        reader, = pipe
        done = false
        fiber = Fiber.new { done = true }
        Thread.new do
          [-> { selector.select(0) }, -> { selector.transfer }, -> { selector.yield }, -> { selector.resume(fiber) },
           -> { selector.raise(fiber, "no") }, -> { selector.io_wait(Fiber.current, reader, 1) },
           -> { selector.idle_duration }, -> { selector.close }].each do |call|
            expect(&call).to raise_error(ThreadError, /belongs to/)
          end
          selector.push(fiber)
          selector.wakeup
          expect(selector).to be_ready
          expect(selector).not_to be_closed
        end.join
        selector.select(0)
        expect(done).to be(true)
      end
    end

    it "raises ClosedError after close, and in a forked child" do
      checking do |selector|
        reader, writer = pipe
        fiber = Fiber.new { nil }
        child = fork do
          error = raised { selector.select(0) }
          writer.write(error.class.name)
          exit!(0)
        end
        Process.wait(child)
        writer.close
        expect(reader.read).to eq("UringIO::ClosedError")

        selector.close
        [-> { selector.select(0) }, -> { selector.push(fiber) }, -> { selector.wakeup }, -> { selector.transfer },
         -> { selector.ready? }, -> { selector.io_wait(Fiber.current, reader, 1) }].each do |call|
          expect(&call).to raise_error(UringIO::ClosedError, /is closed/)
        end
      end
    end

    it "checks the fiber argument of every method that takes one" do
      named = File.read("#{Signatures::FOLDER}/uring_io/selector.rbs")[/.*?^    class /m]
                  .scan(/^    def (\w+): \(Fiber fiber\b/).flatten.map(&:to_sym)
      expect(named).to include(:io_wait)
      checking do |selector|
        # resume and raise take another fiber. io-event's own selectors lack some of the methods.
        (named - %i[resume raise]).select { |name| selector.respond_to?(name) }.each do |name|
          expect { selector.public_send(name, Fiber.new { nil }) }.to raise_error(ArgumentError, /is called for/)
        end
      end
    end

    it "has the same methods as the selector, and no others" do
      selecting do |selector|
        checked = described_class.new(selector)
        %i[io_read io_write io_pread io_close io_select process_wait futex_wait backend nothing].each do |name|
          expect(checked.respond_to?(name)).to be(selector.respond_to?(name))
        end
        expect { checked.nothing }.to raise_error(NoMethodError, /nothing/)
      end
    end

    it "names the wrapped selector in its inspect" do
      checking { |selector| expect(selector.inspect).to include(described_class.name, selector_class.name) }
    end
  end
end
