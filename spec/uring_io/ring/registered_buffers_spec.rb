# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend(only: [:io_uring]) do
    describe "#register", needs: :registered_buffers do
      def page
        IO::Buffer.new(IO::Buffer::PAGE_SIZE)
      end

      it "returns memory that calls read into and write from" do
        everywhere do |ring|
          file = closing(File.open(file_with("0123456789"), "r+"))
          registered = ring.register(page)
          expect(ring.read_fixed(file, registered, 4, offset: 2)).to eq(4)
          expect(ring.read_fixed(file, registered, 3, at: 4)).to eq(3)
          expect(registered.buffer.get_string(0, 7)).to eq("2345012")
          expect(ring.write_fixed(file, registered, 2, at: 1, offset: 8)).to eq(2)
          expect(File.read(file.path)).to eq("0123456734")
          expect(ring.read_fixed(file, registered, offset: 8)).to eq(2)
          expect(ring.read_fixed(file, registered, offset: 10)).to eq(0)
          expect([ring.read_fixed(file, registered, 0), ring.read_fixed(file, registered, at: page.size)]).to eq([0, 0])
          registered.release
        end
      end

      it "keeps the buffer locked until the program releases it" do
        everywhere do |ring|
          buffer = page
          registered = ring.register(buffer)
          expect(registered.buffer).to be(buffer)
          expect([buffer.locked?, registered.released?]).to eq([true, false])
          expect(raised { buffer.free }).to be_a(IO::Buffer::LockedError)
          2.times { expect(registered.release).to be_nil }
          expect([buffer.locked?, registered.released?]).to eq([false, true])
          error = raised { ring.read_fixed($stdin, registered) }
          expect([error.class, error.message]).to match([UringIO::Error, /released/])
          buffer.free
        end
      end

      it "returns memory that cannot be released during a call" do
        scheduled do
          with_ring do |ring|
            registered = ring.register(page)
            reader, writer = pipe
            read = nil
            Fiber.schedule { read = ring.read_fixed(reader, registered, 4) }
            error = raised { registered.release }
            expect([error.class, error.message]).to match([UringIO::Error, /1 calls use this buffer/])
            writer.write("late")
            eventually { read }
            registered.release
            expect([registered.buffer.get_string(0, 4), registered.buffer.locked?]).to eq(["late", false])
          end
        end
      end

      it "counts no use for calls that were interrupted, failed or never made" do
        everywhere do |ring|
          registered = ring.register(page)
          reader, writer = pipe
          endings.each { |way| ended_by(way) { ring.read_fixed(reader, registered) } }
          raised { ring.read_fixed(reader, registered, timeout: 0.001) }
          raised { ring.read_fixed(writer, registered) }
          raised { ring.read_fixed(writer, registered, timeout: -1) }
          raised { ring.read_fixed(writer, registered, 1, at: 1 << 20) }
          raised { ring.batch { |calls| calls.read_fixed(reader, registered) && raise(IndexError) } }
          raised { ring.chain { |steps| steps.read_fixed(reader, registered) && raise(IndexError) } }
          expect(registered.release).to be_nil
        end
      end

      it "returns memory for batches and chains" do
        everywhere do |ring|
          path = file_with("0123456789")
          registered = ring.register(page)
          file = closing(File.open(path))
          expect(ring.batch { |calls| 3.times { |at| calls.read_fixed(file, registered, 2, at: 2 * at, offset: at) } })
            .to eq([2] * 3)
          expect(registered.buffer.get_string(0, 6)).to eq("011223")
          _receiver, sender = unix_pair
          results = ring.chain do |steps|
            opened = steps.open(path)
            steps.read_fixed(opened, registered, 10)
            steps.write_fixed(sender, registered, 10)
          end
          expect(results).to eq([0, 10, 10])
          expect(raised { ring.chain { |steps| steps.read_fixed(steps.open(path), registered, 11) } })
            .to be_a(UringIO::ChainError)
          registered.release
        end
      end

      it "returns memory that belongs to one ring" do
        everywhere do |ring|
          registered = ring.register(page)
          other = described_class.new(backend:)
          if Fiber.current_scheduler
            # Both rings use the scheduler's.
            expect(other.read_fixed(closing(File.open(file_with("x"))), registered)).to eq(1)
          else
            error = raised { other.read_fixed($stdin, registered) }
            expect([error.class, error.message]).to match([UringIO::Error, /another ring/])
          end
          other.close
          expect(registered.release).to be_nil
        end
      end

      it "releases the memory when the ring closes" do
        buffer = page
        ring = described_class.new(backend:)
        registered = ring.register(buffer)
        ring.close
        expect([registered.released?, buffer.locked?, registered.release]).to eq([true, false, nil])
        expect(raised { ring.register(buffer) }).to be_a(UringIO::ClosedError)
        with_ring do |other|
          expect(raised { other.read_fixed($stdin, registered) }).to be_a(UringIO::Error)
        end
      end

      it "may be called over and over" do
        with_ring do |ring|
          buffer = page
          3000.times { ring.register(buffer).release }
          several = Array.new(64) { ring.register(page) }
          file = closing(File.open(file_with("0123456789")))
          several.each_with_index { |registered, number| ring.read_fixed(file, registered, 1, offset: number % 10) }
          expect(several.map { |registered| registered.buffer.get_string(0, 1) }.join).to start_with("0123456789012")
          several.each(&:release)
        end
      end

      it "refuses parts of buffers, and ranges outside of a buffer" do
        everywhere do |ring|
          registered = ring.register(page)
          size = IO::Buffer::PAGE_SIZE
          [[0, size + 1], [size + 1, 0], [size + 1, nil], [1, size], [1 << 62, 1 << 62]].each do |at, length|
            expect(raised { ring.read_fixed($stdin, registered, length, at:) }).to be_a(ArgumentError)
          end
          [[-1, 1], [0, -1]].each do |at, length|
            expect(raised { ring.write_fixed($stdin, registered, length, at:) }).to be_a(RangeError)
          end
          ["x", nil, page].each { |given| expect(raised { ring.read_fixed($stdin, given) }).to be_a(TypeError) }
          ["x", nil, 5, registered].each { |given| expect(raised { ring.register(given) }).to be_a(TypeError) }
          [page.slice(0, 16), IO::Buffer.for(+"string")].each do |given|
            expect(raised { ring.register(given) }).to be_a(ArgumentError).or be_a(IO::Buffer::AccessError)
          end
          expect(raised { ring.register(page.tap(&:free)) }).to be_a(ArgumentError).or be_a(IO::Buffer::AllocationError)
          expect(registered.release).to be_nil
        end
      end

      it "keeps registered memory through a garbage collection" do
        with_ring do |ring|
          file = closing(File.open(file_with("0123456789")))
          registered = Array.new(4) { ring.register(page) }
          GC.start
          GC.compact
          registered.each { |one| expect(ring.read_fixed(file, one, offset: 0)).to eq(10) }
          expect(registered.map { |one| one.buffer.get_string(0, 10) }.uniq).to eq(["0123456789"])
          registered = nil
          GC.start
          expect(ring.nop || registered).to be_nil
        end
      end
    end
  end

  each_backend(only: %i[epoll poll select]) do
    it "cannot register memory, and gives the reason" do
      everywhere do |ring|
        buffer = IO::Buffer.new(4096)
        error = raised { ring.register(buffer) }
        expect([error.class, error.message]).to match([UringIO::UnsupportedError, /io_uring/])
        expect(buffer.locked?).to be(false)
      end
    end
  end
end
