# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |backend|
    describe "#batch" do
      it "returns the results in the order of the calls, and failures as exceptions" do
        everywhere do |ring|
          path = file_with("12345")
          missing = free_path
          results = ring.batch do |calls|
            expect(calls.stat(path)).to eq(0)
            expect(calls.stat(missing)).to eq(1)
            calls.nop
          end
          expect([results[0].size, results[1].class, results[2]]).to eq([5, Errno::ENOENT, nil])
          expect(results[1].message).to match(/statx/)
          expect(ring.batch { |calls| calls }).to eq([])
        end
      end

      it "returns the same results as the methods of the ring" do
        everywhere do |ring|
          file = closing(File.open(file_with("0123456789")))
          receiver, sender = unix_pair
          buffer = IO::Buffer.new(4)
          results = ring.batch do |calls|
            calls.read(file, 3, offset: 1)
            calls.read(file, 3, offset: 99)
            calls.read(file, buffer, offset: 2)
            calls.stat(file)
            calls.poll(sender, IO::WRITABLE)
            calls.send(sender, "hello")
            calls.recvmsg(receiver, 99)
            calls.timeout(0.001)
            calls.fsync(file)
          end
          results[3] = results[3].size
          results[6] = results[6].first
          expect(results).to eq(["123", nil, 4, 10, IO::WRITABLE, 5, "hello", nil, nil])
          expect([buffer.get_string, buffer.locked?]).to eq(["2345", false])
        end
      end

      it "makes the calls at the same time" do
        everywhere do |ring|
          first, second = Array.new(2) { unix_pair }
          results = ring.batch do |calls|
            calls.recv(first[0], 9)
            calls.send(first[1], "one")
            calls.recv(second[0], 9)
            calls.send(second[1], "two")
          end
          expect(results).to eq(["one", 3, "two", 3])
        end
      end

      it "takes more calls than the ring has entries" do
        path = file_with("12345")
        everywhere(entries: 4) do |ring|
          expect(ring.batch! { |calls| 100.times { calls.stat(path) } }.map(&:size)).to eq([5] * 100)
        end
      end

      it "obeys the timeout of each call, even when the ring has fewer entries" do
        path = file_with("12345")
        everywhere(entries: 4) do |ring|
          pairs = Array.new(20) { unix_pair }
          results = ring.batch do |calls|
            pairs.each_with_index do |(receiver, sender), number|
              calls.recv(receiver, 9, timeout: 0.01 * (1 + (number % 3)))
              calls.stat(path, timeout: 5)
              calls.send(sender, number.to_s) if number.even?
            end
          end
          received, sizes, = results.reject { |result| [1, 2].include?(result) }.each_slice(2).to_a.transpose
          expect(sizes.map(&:size)).to eq([5] * 20)
          expected = Array.new(20) { |number| number.even? ? number.to_s : IO::TimeoutError }
          expect(received.map { |result| result.is_a?(Exception) ? result.class : result }).to eq(expected)
          pairs.each { |_, sender| sender.write("later") }
          expect(pairs.map { |receiver, _| receiver.recv_nonblock(99) }).to eq(["later"] * 20)
        end
      end

      it "returns exceptions for unsupported calls, and makes the other calls" do
        path = file_with("12345")
        buffer = IO::Buffer.new(8)
        futexes = backend == :io_uring && !KernelNeeds.missing(:futex_wait)
        everywhere do |ring|
          results = ring.batch do |calls|
            calls.stat(path)
            calls.futex_wait(buffer, 0, timeout: 0.001)
            calls.stat(path)
          end
          expect([results[0].size, results[2].size, buffer.locked?]).to eq([5, 5, false])
          expect(results[1]).to be_a(futexes ? IO::TimeoutError : UringIO::UnsupportedError)
        end
      end

      it "makes no call when its block raises, and unlocks their buffers" do
        everywhere do |ring|
          path = free_path
          buffer = IO::Buffer.new(4)
          error = raised do
            ring.batch do |calls|
              calls.mkdir(path)
              calls.read(pipe.first, buffer)
              expect(buffer.locked?).to be(true)
              calls.stat(:nonsense)
            end
          end
          expect([error.class, File.exist?(path), buffer.locked?]).to eq([TypeError, false, false])
          expect(raised { ring.batch { raise IndexError } }).to be_a(IndexError)
          expect(catch(:out) { ring.batch { |calls| calls.read($stdin, buffer).then { throw :out, 5 } } }).to eq(5)
          expect(buffer.locked?).to be(false)
        end
      end

      it "unlocks the buffers of its calls when its block breaks" do
        everywhere do |ring|
          buffer = IO::Buffer.new(4)
          left = ring.batch do |calls|
            calls.read($stdin, buffer)
            break :left
          end
          expect([left, buffer.locked?]).to eq([:left, false])
        end
      end

      it "ends its calls when it is interrupted, and closes the descriptors that they opened" do
        path = file_with("x")
        receiver, sender = unix_pair
        everywhere do |ring|
          before = descriptors
          buffer = IO::Buffer.new(4)
          endings.each do |way|
            error = ended_by(way) do
              ring.batch do |calls|
                10.times { calls.open(path) }
                calls.pipe
                calls.recv(receiver, buffer)
                calls.recv(receiver, 1)
              end
            end
            expect(error).to be_a(IndexError).or be_nil
            expect([way, descriptors, buffer.locked?]).to eq([way, before, false])
          end
          sender.write("left")
          expect(ring.recv(receiver, 9)).to eq("left")
        end
      end

      it "leaves calls of other fibers alone" do
        scheduled do
          with_ring do |ring|
            receiver, sender = unix_pair
            received = nil
            Fiber.schedule { received = ring.recv(receiver, 9) }
            ended { ring.batch { |calls| calls.recv(unix_pair.first, 1) } }
            sender.write("kept")
            eventually { received }
            expect(received).to eq("kept")
          end
        end
      end

      it "works in many fibers at once" do
        paths = Array.new(10) { |size| file_with("x" * size) }
        scheduled do
          with_ring do |ring|
            results = []
            20.times { Fiber.schedule { results << ring.batch { |calls| paths.each { |path| calls.stat(path) } } } }
            eventually { results.size == 20 }
            expect(results.map { |found| found.map(&:size) }).to eq([(0..9).to_a] * 20)
          end
        end
      end

      it "makes its calls only once" do
        with_ring do |ring|
          kept = nil
          ring.batch { |calls| kept = calls.tap(&:nop) }
          path = free_path
          expect(raised { kept.mkdir(path) }).to be_a(UringIO::Error)
          expect(File.exist?(path)).to be(false)
        end
      end
    end

    describe "#batch!", needs: :mkdirat do
      it "returns the results, or raises the first exception after all calls have ended" do
        everywhere do |ring|
          path = free_path
          expect(ring.batch!(&:nop)).to eq([nil])
          error = raised do
            ring.batch! do |calls|
              calls.stat("/missing")
              calls.close_descriptor(9999)
              calls.mkdir(path)
            end
          end
          expect([error.class, File.directory?(path)]).to eq([Errno::ENOENT, true])
        end
      end
    end
  end

  each_backend(only: [:io_uring]) do
    it "submits a batch and waits for it in one system call" do
      ring = described_class.new(backend:)
      before = ring.stats
      ring.batch { |calls| 100.times { calls.nop } }
      after = ring.stats
      ring.close
      expect(after.enters - before.enters).to eq(1)
      # The ring has one entry of its own, by which others can wake it.
      expect(after.submissions - before.submissions).to be_between(100, 101)
    end

    it "reads a file a thousand times in batches of a hundred with ten system calls" do
      file = closing(File.open(file_with("x" * 4096)))
      with_ring do |ring|
        ring.batch { |calls| 100.times { calls.read(file, 4, offset: 0) } }
        before = ring.stats.system_calls
        10.times { |round| ring.batch! { |calls| 100.times { |at| calls.read(file, 4, offset: round + at) } } }
        # On a slow machine a batch may take longer than one system call waits for all of it. Then the ring makes
        # another one.
        expect(ring.stats.system_calls - before).to Watchdog::SLOWNESS > 1 ? be_between(10, 1000) : eq(10)
      end
    end
  end
end
