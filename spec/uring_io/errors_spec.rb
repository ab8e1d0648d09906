# frozen_string_literal: true

RSpec.describe UringIO::Error do
  it "is a StandardError, and the base of this gem's own errors" do
    expect([UringIO::UnsupportedError, UringIO::ClosedError]).to all(be < described_class)
    expect(described_class).to be < StandardError
  end

  it "does not cover the kernel's errors, which stay Errno" do
    expect(Errno::EBADF.ancestors).not_to include(described_class)
  end

  each_backend do |_backend|
    # Values that a foreign caller may pass for any argument.
    nonsense = [nil, true, :symbol, "string", -1, 2**70, 1.5, Float::NAN, [], {}, Object.new, BasicObject.new,
                Class, Thread.current, IO::Buffer.new(1), "\xff", Float::INFINITY].freeze

    # The smallest and the largest number of arguments of each hook.
    { block: [2, 2], unblock: [2, 2], kernel_sleep: [0, 1], io_wait: [3, 3], io_read: [3, 4], io_write: [3, 4],
      io_pread: [5, 5], io_select: [1, 4], address_resolve: [1, 1], process_wait: [2, 2] }.each do |hook, (least, most)|
      it "raises an exception of Ruby's classes for nonsense in #{hook}, and the scheduler works on" do
        scheduled do |scheduler|
          nonsense.each do |value|
            [least, most].uniq.each do |count|
              error = nil
              caller_fiber = Fiber.schedule do
                error = raised { Timeout.timeout(0.02) { scheduler.public_send(hook, *Array.new(count, value)) } }
              end
              eventually { !caller_fiber.alive? }
              expect(error).to be_nil.or be_a(StandardError)
              expect(error.message).not_to match(/panick|unwrap|internal/i) if error
            end
          end
          reader, writer = pipe
          Fiber.schedule { writer.write("works") }
          expect(reader.readpartial(10)).to eq("works")
        end
      end

      it "raises ArgumentError when #{hook} gets too few or too many arguments" do
        scheduled do |scheduler|
          [least - 1, most + 1].select { |count| count >= 0 }.each do |count|
            expect { scheduler.public_send(hook, *Array.new(count)) }.to raise_error(ArgumentError)
          end
        end
      end

      next if hook == :unblock

      it "raises ThreadError when another thread calls #{hook}" do
        reader, = pipe
        arguments = { block: [:label, 0], kernel_sleep: [0], io_wait: [reader, 1, 0], address_resolve: ["localhost"],
                      io_read: [reader, IO::Buffer.new(1), 0, 0], io_write: [reader, IO::Buffer.new(1), 0, 0],
                      io_pread: [reader, IO::Buffer.new(1), 0, 0, 0], io_select: [[reader]], process_wait: [1, 0] }
        scheduled do |scheduler|
          error = Thread.new { raised { scheduler.public_send(hook, *arguments.fetch(hook)) } }.value
          expect(error).to be_a(ThreadError).and have_attributes(message: /thread/)
          expect(scheduler.kernel_sleep(0)).to be(true)
        end
      end
    end

    it "raises ThreadError when another thread starts a fiber, runs or closes" do
      scheduled do |scheduler|
        errors = Thread.new do
          [raised { scheduler.fiber { nil } }, raised { scheduler.run }, raised { scheduler.close },
           raised { scheduler.timeout_after(1, Timeout::Error, "") { nil } }]
        end.value
        expect(errors).to all(be_a(ThreadError))
        expect(scheduler).not_to be_closed
      end
    end

    it "passes on exceptions of an object's own conversions" do
      hostile = Object.new
      def hostile.method_missing(name, ...) = raise(KeyError, name.to_s)
      def hostile.respond_to_missing?(*) = true
      scheduled do |scheduler|
        expect { scheduler.io_wait(hostile, 1, nil) }.to raise_error(KeyError)
        expect { scheduler.io_select([hostile]) }.to raise_error(KeyError)
        expect { scheduler.kernel_sleep(hostile) }.to raise_error(StandardError)
        expect { scheduler.address_resolve(hostile) }.to raise_error(StandardError)
        expect(scheduler.kernel_sleep(0)).to be(true)
      end
    end
  end
end
