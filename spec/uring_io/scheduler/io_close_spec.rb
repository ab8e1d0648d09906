# frozen_string_literal: true

# Before Ruby 4.0 there is no such hook (hooks_spec.rb).
if UringIO::Scheduler.method_defined?(:io_close)
  RSpec.describe UringIO::Scheduler, "#io_close" do
    each_backend do |_backend|
      it "closes the descriptor of this number and returns true, without switching fibers" do
        order = []
        scheduled do |scheduler|
          reader, writer = pipe
          reader.autoclose = false
          Fiber.schedule do
            sleep(0)
            order << :other
          end
          order << scheduler.io_close(reader.fileno) << :closed
          expect { writer.syswrite("x") }.to raise_error(Errno::EPIPE)
        end
        expect(order).to eq([true, :closed, :other])
      end

      it "returns true for what is closed already: nobody could be told, and Ruby is not to try again" do
        scheduled do |scheduler|
          expect(scheduler.io_close(-1)).to be(true)
          expect(scheduler.io_close((2**31) - 1)).to be(true)
        end
      end

      it "refuses what is no number of a descriptor" do
        scheduled do |scheduler|
          expect { scheduler.io_close(pipe.first) }.to raise_error(TypeError)
          expect { scheduler.io_close(2**31) }.to raise_error(RangeError)
        end
      end
    end
  end
end
