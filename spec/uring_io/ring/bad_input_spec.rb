# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    # Expects each call to raise, and the ring to work afterwards.
    def expect_refused(ring, cases)
      cases.each do |expected, calls|
        calls.each do |call|
          error = raised(&call)
          expect(error).to be_a(expected), "#{call.source_location.inspect}: #{error.inspect}"
          expect(error.message).not_to be_empty
        end
      end
      expect(ring.nop).to be_nil
    end

    it "refuses invalid arguments" do
      path = file_with("x")
      closed = File.open(path).tap(&:close)
      everywhere do |ring|
        expect_refused(
          ring,
          ArgumentError => [-> { ring.open(path, "q") }, -> { ring.open(path, resolve: :somehow) },
                            -> { ring.fadvise($stdin, :quickly) },
                            -> { ring.madvise(IO::Buffer.new(4096), :quickly) },
                            -> { ring.madvise(IO::Buffer.new(4096), 4) },
                            -> { ring.madvise(IO::Buffer.new(4096), :normal, at: 4097) },
                            -> { ring.madvise(IO::Buffer.new(4096), :normal, length: 4097) },
                            -> { ring.madvise(IO::Buffer.new(4096).slice(0, 1), :normal) },
                            -> { ring.rename(path, path, flags: :quickly) },
                            -> { ring.sync_file_range($stdin, flags: :now) }, -> { ring.socket(:NOWHERE) },
                            -> { ring.connect($stdin, "x" * 200) }, -> { ring.nop(timeout: -1) },
                            -> { ring.shutdown($stdin, :UP) }, -> { ring.read($stdin, 1 << 40) },
                            -> { ring.setsockopt($stdin, :NOWHERE, :TTL, 1) },
                            -> { ring.setsockopt($stdin, :TCP, :NOTHING, 1) },
                            -> { ring.setxattr(path, "user.x", "", flags: :now) }],
          TypeError => [-> { ring.read(path, 1) }, -> { ring.write($stdout, :symbol) }, -> { ring.mkdir(nil) },
                        -> { ring.close_descriptor($stdin) }, -> { ring.read($stdin, "5") },
                        -> { ring.read($stdin, 1.5) }, -> { ring.read(nil, 1) }, -> { ring.open(5) },
                        -> { ring.open(path, 1.5) }, -> { ring.stat(nil) }, -> { ring.nop(timeout: "1") },
                        -> { ring.ftruncate($stdin, "5") }, -> { ring.connect($stdin, 80) },
                        -> { ring.write($stdout, nil) }, -> { ring.madvise("x", :normal) },
                        -> { ring.setxattr(path, "user.x", 5) }, -> { ring.setsockopt($stdin, :IP, :TTL, nil) },
                        -> { ring.setsockopt($stdin, :IP, nil, 1) }, -> { ring.setsockopt($stdin, nil, :TTL, 1) },
                        -> { ring.setsockopt(path, :IP, :TTL, 1) },
                        -> { ring.readv($stdin, nil) }, -> { ring.cancel("x") }],
          RangeError => [-> { ring.read($stdin, -1) }, -> { ring.read($stdin, 1, offset: -1) },
                         -> { ring.read($stdin, 1, offset: 1 << 64) }, -> { ring.read($stdin, 1 << 64) },
                         -> { ring.read(1 << 40, 1) }, -> { ring.ftruncate($stdin, -1) },
                         -> { ring.fallocate($stdin, -1) }, -> { ring.madvise(IO::Buffer.new(1), :normal, at: -1) },
                         -> { ring.mkdir(path, -1) }, -> { ring.setsockopt($stdin, :IP, :TTL, 1 << 31) },
                         -> { ring.splice($stdin, $stdout, -1) }, -> { ring.recvmsg($stdin, -1) },
                         -> { ring.getxattr(path, "user.x", -1) }],
          IOError => [-> { ring.read(closed, 1) }, -> { ring.write(closed, "x") }, -> { ring.fsync(closed) },
                      -> { ring.setsockopt(closed, :IP, :TTL, 1) },
                      -> { ring.stat(closed) }, -> { ring.recv_each(closed) { nil } }, -> { ring.cancel(closed) },
                      -> { ring.batch { |calls| calls.read(closed, 1) } },
                      -> { ring.chain { |steps| steps.read(closed, 1) } }]
        )
      end
    end

    it "refuses paths and names with a null byte, in every method" do
      path = "a\0b"
      everywhere do |ring|
        expect_refused(
          ring,
          ArgumentError => [-> { ring.open(path) }, -> { ring.stat(path) }, -> { ring.mkdir(path) },
                            -> { ring.rmdir(path) }, -> { ring.unlink(path) }, -> { ring.rename(path, "c") },
                            -> { ring.rename("c", path) }, -> { ring.link(path, "c") }, -> { ring.link("c", path) },
                            -> { ring.symlink(path, "c") }, -> { ring.symlink("c", path) },
                            -> { ring.getxattr(path, "user.x") }, -> { ring.getxattr("/", path) },
                            -> { ring.setxattr("/", path, "x") }]
        )
      end
    end

    it "raises Errno::EBADF for descriptors that are not open" do
      everywhere do |ring|
        [9999, -1].each do |descriptor|
          [-> { ring.read(descriptor, 1) }, -> { ring.write(descriptor, "x") }, -> { ring.fsync(descriptor) },
           -> { ring.recv(descriptor, 1) }, -> { ring.send(descriptor, "x") }, -> { ring.accept(descriptor) },
           -> { ring.poll(descriptor, IO::READABLE) }, -> { ring.close_descriptor(descriptor) },
           -> { ring.readv(descriptor, [IO::Buffer.new(1)]) }, -> { ring.writev(descriptor, ["x"]) },
           -> { ring.tee(descriptor, descriptor, 1) }, -> { ring.shutdown(descriptor) },
           -> { ring.recv_each(descriptor) { nil } }].each do |call|
            error = raised(&call)
            expect(error).to be_a(Errno::EBADF), "#{call.source_location.inspect}: #{error.inspect}"
          end
        end
      end
    end

    { ftruncate: [1], listen: [], setsockopt: [:IP, :TTL, 1] }.each do |name, arguments|
      it "raises Errno::EBADF for such descriptors in #{name}", needs: name do
        everywhere do |ring|
          [9999, -1].each do |descriptor|
            expect(raised { ring.public_send(name, descriptor, *arguments) }).to be_a(Errno::EBADF)
          end
        end
      end
    end

    it "converts arguments with to_io, to_path and to_str, and raises what these raise" do
      everywhere do |ring|
        file = closing(File.open(file_with("x")))
        like_io = Object.new.tap { |object| object.define_singleton_method(:to_io) { file } }
        like_path = Object.new.tap { |object| object.define_singleton_method(:to_path) { file.path } }
        like_string = Object.new.tap { |object| object.define_singleton_method(:to_str) { file.path } }
        failing = Object.new.tap { |object| object.define_singleton_method(:to_path) { raise IndexError } }
        lying = Object.new.tap { |object| object.define_singleton_method(:to_path) { 5 } }
        expect([ring.read(like_io, 1), ring.stat(like_path).size, ring.stat(like_string).size]).to eq(["x", 1, 1])
        failing_calls = [-> { ring.stat(failing) }, -> { ring.batch { |calls| calls.stat(failing) } }]
        lying_calls = [-> { ring.stat(lying) }, -> { ring.open(lying) }]
        expect_refused(ring, IndexError => failing_calls, TypeError => lying_calls)
      end
    end

    it "writes the string as it was at the time of the call" do
      scheduled do
        with_ring do |ring|
          receiver, sender = unix_pair
          filled = fill(sender)
          string = +"before"
          sent = nil
          Fiber.schedule { sent = ring.send(sender, string) }
          string.replace("after" * 1000)
          received = +""
          received << ring.recv(receiver, 1 << 20) until received.bytesize == filled + 6
          expect([received.byteslice(filled..), sent]).to eq(["before", 6])
        end
      end
    end

    it "keeps an IO alive that only a call in flight uses" do
      scheduled do
        with_ring do |ring|
          sender = nil
          received = nil
          Fiber.schedule do
            received = ring.recv(UNIXSocket.pair.tap { |pair| sender = pair.last }.first, 9)
          end
          GC.start
          sender.write("alive")
          eventually { received }
          sender.close
          expect(received).to eq("alive")
        end
      end
    end

    it "refuses invalid options" do
      [{ entries: 0 }, { entries: -1 }, { entries: 1 << 40 }, { backend: :nothing }, { nonsense: 1 }].each do |options|
        error = raised { described_class.new(backend:, **options).close }
        expect(error).to be_a(ArgumentError).or(be_a(RangeError)), options.inspect + error.inspect
      end
      expect(raised { described_class.new(backend:, entries: "x") }).to be_a(TypeError)
      expect(raised { described_class.new(5) }).to be_a(ArgumentError)
      ring = described_class.new(backend:)
      expect(raised { ring.send(:initialize) }).to be_a(StandardError)
      ring.close
    end

    it "refuses an initialize during which the object was initialized, as the other classes with a backend do" do
      options = { backend: }
      classes = { described_class => [], UringIO::Scheduler => [], UringIO::Selector => [Fiber.current],
                  UringIO.const_get(:Poller) => [] }
      classes.each do |made, arguments|
        object = made.allocate
        entries = Object.new
        entries.define_singleton_method(:to_int) do
          object.__send__(:initialize, *arguments, **options)
          8
        end
        error = raised { object.__send__(:initialize, *arguments, **options, entries:) }
        expect(error).to be_a(UringIO::Error).and(have_attributes(message: /is initialized already/))
        expect(object.backend).to eq(backend)
        object.close
      end
    end

    it "raises before it is initialized, and for a copy" do
      bare = described_class.allocate
      [-> { bare.nop }, -> { bare.stats }, -> { bare.backend }, -> { bare.receive },
       -> { bare.batch(&:nop) }, -> { bare.chain(&:nop) }, -> { bare.register(IO::Buffer.new(16)) }].each do |call|
        expect(raised(&call)).to be_a(UringIO::ClosedError)
      end
      expect([bare.closed?, bare.close]).to eq([true, nil])
      with_ring do |ring|
        %i[dup clone].each { |way| expect(raised { ring.public_send(way).nop }).to be_a(StandardError) }
      end
    end
  end
end
