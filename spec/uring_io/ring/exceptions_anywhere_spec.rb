# frozen_string_literal: true

# Ruby raises an exception from outside, such as that of Timeout, wherever it checks for interrupts, also when a method
# or block returns. These examples raise one at each of these places in turn. They raise it once, so if it gets lost in
# a wait, that wait never ends.
RSpec.describe "UringIO::Ring, interrupted between its own lines" do
  include Rings

  raised_from_outside = Class.new(StandardError)

  # Raises at the numbered return from a method or block of the ring, or from a Ruby method that a native method calls:
  # other native methods return without a check for exceptions. Returns whether the block came that far.
  define_method(:raised_at_return) do |number, &block|
    seen = depth = 0
    where = nil
    trace = TracePoint.new(:return, :b_return, :c_call, :c_return) do |point|
      # Leaves out IO#close, which finalizers may call at any time.
      next unless point.path.include?("/lib/uring_io/ring")

      depth += 1 if point.event == :c_call
      depth -= 1 if point.event == :c_return
      next if point.event == :c_call || (point.event == :c_return && depth.zero?)

      seen += 1
      where = point.method_id if seen == number
      raise raised_from_outside if seen == number
    end
    trace.enable(target_thread: Thread.current, &block)
    raise "what was raised at the return from #{where}, the #{number}th, is lost" if where

    false
  rescue raised_from_outside
    true
  end

  each_backend(only: %i[io_uring epoll]) do
    {
      "a call" => ->(ring, reader, buffer) { ring.read(reader, buffer) },
      "a batch" => lambda do |ring, reader, buffer|
        ring.batch do |calls|
          calls.readv(reader, [buffer])
          calls.recv(reader, 1)
        end
      end,
      "a batch that is left" => lambda do |ring, reader, buffer|
        ring.batch do |calls|
          calls.read(reader, buffer)
          break
        end
      end,
      "a chain" => lambda do |ring, reader, buffer|
        ring.chain do |steps|
          steps.recv(reader, buffer)
          steps.close(steps.open("/"))
        end
      end,
      "a stream" => ->(ring, reader, _) { ring.recv_each(reader) { break } },
      "a batch of which some fail" => lambda do |ring, reader, buffer|
        ring.batch do |calls|
          calls.read(reader, buffer)
          calls.stat("/missing")
          calls.recv(reader, 1, timeout: 0.001)
        end
      end,
      "a chain that breaks" => lambda do |ring, reader, buffer|
        ring.chain do |steps|
          steps.recv(reader, buffer)
          steps.stat("/missing")
        end
      rescue UringIO::ChainError
        nil
      end
    }.each do |name, call|
      it "loses no exception in #{name}, and keeps no buffer locked" do
        needs(:direct_descriptors) if name == "a chain"
        everywhere do |ring|
          reader, writer = unix_pair
          before = descriptors
          places = 1.step.find do |number|
            buffer = IO::Buffer.new(4)
            writer.write("abcdefgh")
            raised = raised_at_return(number) { call.call(ring, reader, buffer) }
            expect([number, buffer.locked?, descriptors]).to eq([number, false, before])
            reader.read_nonblock(100, exception: false)
            !raised
          end
          expect(places).to be > 2
        end
      end
    end

    it "loses no exception while it makes a ring, which asks Ruby 3.3 for the Ractor" do
      skip "this Ruby is not asked" if RUBY_VERSION >= "3.4"

      raising = TracePoint.new(:return, :c_return) do |point|
        raise raised_from_outside if point.method_id == :current && point.self.equal?(Ractor)
      end
      made = raised { raising.enable(target_thread: Thread.current) { with_ring { nil } } }
      expect(made).to be_a(raised_from_outside)
    end

    # Such an exception is pending and waits for a blocking call. When two come together, the second one is still
    # pending after Ruby has raised the first.
    it "raises a pending exception at once instead of waiting" do
      with_ring do |ring|
        reader, = unix_pair
        {
          recv: -> { ring.recv(reader, 1) }, recv_each: -> { ring.recv_each(reader) { nil } },
          batch: -> { ring.batch { |calls| calls.recv(reader, 1) } }, receive: -> { ring.receive },
          chain: -> { ring.chain { |steps| steps.recv(reader, 1) } }
        }.each do |name, call|
          error = Thread.handle_interrupt(raised_from_outside => :on_blocking) do
            Thread.current.raise(raised_from_outside)
            raised(&call)
          end
          expect([name, error.class]).to eq([name, raised_from_outside])
        end
      end
    end

    it "keeps the second of two exceptions for the next call" do
      others = [IndexError, raised_from_outside]
      with_ring do |ring|
        reader, = unix_pair
        {
          recv: -> { ring.recv(reader, 1) }, batch: -> { ring.batch { |calls| calls.recv(reader, 1) } },
          chain: -> { ring.chain { |steps| steps.recv(reader, 1) } }
        }.each do |name, call|
          errors = Thread.handle_interrupt(others.to_h { |error| [error, :on_blocking] }) do
            others.each { |error| Thread.current.raise(error) }
            Array.new(2) { raised(&call).class }
          end
          expect([name, *errors]).to eq([name, *others])
        end
      end
    end
  end
end
