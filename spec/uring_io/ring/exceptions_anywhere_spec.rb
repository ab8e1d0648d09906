# frozen_string_literal: true

# An exception from outside, as Timeout raises one, comes where Ruby looks for it: wherever a method or block returns,
# too. Here one comes at each of these places in turn.
RSpec.describe "UringIO::Ring, raised into between its own lines" do
  include Rings

  raised_from_outside = Class.new(StandardError)

  # Raises at the return of that number from a method or block of the ring's. Whether it came that far.
  define_method(:raised_at_return) do |number, &block|
    seen = 0
    trace = TracePoint.new(:return, :b_return) do |point|
      # Not of IO#close, which finalizers come to at any time.
      next unless point.path.include?("/lib/uring_io/ring")

      seen += 1
      raise raised_from_outside if seen == number
    end
    trace.enable(target_thread: Thread.current, &block)
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
      end
    }.each do |name, call|
      it "keeps no buffer of #{name} locked" do
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
  end
end
