# frozen_string_literal: true

# Before Ruby 4.0 there is no such hook (hooks_spec.rb).
if UringIO::Scheduler.method_defined?(:io_close)
  RSpec.describe UringIO::Scheduler, "#io_close" do
    each_backend do |_backend|
      it "leaves the closing to Ruby, without a wait or a switch" do
        order = []
        scheduled do |scheduler|
          reader, = pipe
          Fiber.schedule do
            sleep(0)
            order << :other
          end
          order << scheduler.io_close(reader.fileno) << :told
          expect(reader.stat).to be_pipe
        end
        expect(order).to eq([false, :told, :other])
      end

      it "ends waits for the same descriptor through another IO" do
        outcome = nil
        scheduled do |scheduler|
          reader, = pipe
          Fiber.schedule { outcome = raised { reader.readpartial(1) } }
          scheduler.io_close(reader.fileno)
        end
        expect(outcome).to be_an(IOError)
      end

      it "lets Ruby report a failure of close(2)" do
        scheduled do
          _, writer = pipe
          closing(IO.for_fd(writer.fileno)).close
          expect { writer.close }.to raise_error(Errno::EBADF)
        end
      end

      it "returns false for a number that is no open descriptor" do
        scheduled do |scheduler|
          expect(scheduler.io_close(-1)).to be(false)
          expect(scheduler.io_close((2**31) - 1)).to be(false)
        end
      end

      it "rejects an argument that is no descriptor number" do
        scheduled do |scheduler|
          expect { scheduler.io_close(pipe.first) }.to raise_error(TypeError)
          expect { scheduler.io_close(2**31) }.to raise_error(RangeError)
        end
      end
    end
  end
end
