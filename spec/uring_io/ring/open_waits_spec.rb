# frozen_string_literal: true

# open(2) of a FIFO waits until somebody opens the other end. No backend may return earlier, block other work meanwhile,
# or go on when the caller has left.
RSpec.describe UringIO::Ring, "#open of a FIFO" do
  def fifo
    free_path("fifo").tap { |path| File.mkfifo(path) }
  end

  # Whether somebody has opened the read end of the FIFO.
  def read_end_open?(path)
    IO.for_fd(IO.sysopen(path, File::WRONLY | File::NONBLOCK)).close
    true
  rescue Errno::ENXIO
    false
  end

  # Runs the block in another thread once this one waits. Returns that thread.
  def when_waiting
    waiting = Thread.current
    other = Thread.new do
      Thread.pass until waiting.status == "sleep"
      yield
    end
    in_background_of(other)
  end

  # Remembers a thread, which ends with the example.
  def in_background_of(thread)
    (@threads ||= []) << thread
    thread
  end

  after { @threads&.each(&:kill)&.each(&:join) }

  # The mode of each end, and the mode that opens the other end.
  ends = { "the end to read from" => %w[r w], "the end to write to" => [File::WRONLY, "r"],
           "the end to write to by \"w\"" => %w[w r], "the end to append to" => %w[a r] }

  each_backend do |_backend|
    ends.each do |title, (mode, other_mode)|
      it "waits for the other end when it opens #{title}" do
        everywhere do |ring|
          path = fifo
          order = []
          other = when_waiting { (order << :other_end) && File.open(path, other_mode) }
          file = adopted(ring.open(path, mode))
          order << :opened
          partner = closing(other.value)
          expect(order).to eq(%i[other_end opened])
          reader, writer = other_mode == "w" ? [file, partner] : [partner, file]
          writer.syswrite("through")
          expect(reader.readpartial(9)).to eq("through")
          expect(file.fcntl(Fcntl::F_GETFL) & File::NONBLOCK).to eq(0)
        end
      end

      it "leaves nothing open when its timeout passes or somebody interrupts it: #{title}" do
        everywhere do |ring|
          path = fifo
          before = descriptors
          expect(raised { ring.open(path, mode, timeout: 0.01) }).to be_a(IO::TimeoutError)
          endings.each do |way|
            expect(ended_by(way) { ring.open(path, mode) }).to be_a(IndexError).or be_nil
          end
          expect([read_end_open?(path), descriptors > before]).to eq([false, false])
        end
      end
    end

    it "does not wait when the other end is open, or with File::NONBLOCK" do
      everywhere do |ring|
        path = fifo
        reader = adopted(ring.open(path, File::RDONLY | File::NONBLOCK))
        writer = adopted(ring.open(path, "w", timeout: 10))
        expect(adopted(ring.open(path, "r", timeout: 10))).to be_a(IO)
        expect(adopted(ring.open(path, "r+", timeout: 10))).to be_a(IO)
        [reader, writer].each(&:close)
        expect(raised { ring.open(fifo, File::WRONLY | File::NONBLOCK) }).to be_a(Errno::ENXIO)
      end
    end

    it "waits with resolve: and dir: as well" do
      skip "openat2(2) is missing" unless UringIO.support.operations.include?(:openat2)
      everywhere do |ring|
        path = fifo
        directory = closing(File.open(File.dirname(path)))
        call = -> { ring.open(File.basename(path), dir: directory, resolve: :beneath, timeout: 0.01) }
        expect(raised(&call)).to be_a(IO::TimeoutError)
        expect(read_end_open?(path)).to be(false)
      end
    end

    it "can wait in more calls than there are threads, and still opens the other ends" do
      everywhere do |ring|
        paths = Array.new(20) { fifo }
        plain = file_with("x")
        results = ring.batch do |calls|
          paths.each { |path| calls.open(path, "r", timeout: 10) }
          calls.open(plain, timeout: 10)
          calls.stat(plain, timeout: 10)
          paths.each { |path| calls.open(path, "w", timeout: 10) }
        end
        opened = results.grep(Integer).map { |fd| adopted(fd) }
        expect([opened.size, results.grep(Exception)]).to eq([41, []])
      end
    end

    it "ends one call of a batch by its own timeout, and not the others" do
      everywhere do |ring|
        path = fifo
        plain = file_with("x")
        before = descriptors
        waits, opened, read = ring.batch do |calls|
          calls.open(path, timeout: 0.01)
          calls.open(plain)
          calls.nop
        end
        expect([waits.class, opened.class, read]).to eq([IO::TimeoutError, Integer, nil])
        IO.for_fd(opened).close
        error = ended { ring.batch { |calls| 3.times { calls.open(path) && calls.open(plain) } } }
        expect(error).to be_a(IndexError)
        expect([read_end_open?(path), descriptors > before]).to eq([false, false])
      end
    end

    it "waits as a step of a chain, until a timeout or an exception ends it", needs: :direct_descriptors do
      everywhere do |ring|
        path = fifo
        before = descriptors
        error = raised { ring.chain(timeout: 0.01) { |steps| steps.read(steps.open(path), 9) } }
        expect([error.class, error.step.name, error.cause.class]).to eq([UringIO::ChainError, :open, IO::TimeoutError])
        expect(ended { ring.chain { |steps| steps.read(steps.open(path), 9) } }).to be_a(IndexError)
        expect([read_end_open?(path), descriptors > before]).to eq([false, false])
        order = []
        when_waiting { (order << :other_end) && File.write(path, "through") }
        results = ring.chain { |steps| steps.read(steps.open(path), 7) }
        expect([order, results.last]).to eq([[:other_end], "through"])
      end
    end

    it "does not keep the program from ending" do
      program = <<~RUBY
        require "tmpdir"
        Dir.mktmpdir do |directory|
          File.mkfifo(path = File.join(directory, "fifo"))
          backend = ARGV.shift.to_sym
          waiting = Thread.new { UringIO::Ring.new(backend:).open(path) }
          Thread.pass until waiting.stop?
          UringIO.run(backend:) do
            Fiber.schedule { UringIO::Ring.new(backend:).open(path, "w") }
            sleep(0.01)
            raise SystemExit.new(3)
          end
        end
      RUBY
      expect(child(program, backend)).to have_attributes(stdout: "", stderr: "", status: have_attributes(exitstatus: 3))
    end
  end
end
