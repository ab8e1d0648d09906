# frozen_string_literal: true

RSpec.describe "UringIO::Selector.new" do
  def with_environment(value)
    before = ENV.fetch("URING_IO_BACKEND", nil)
    ENV["URING_IO_BACKEND"] = value
    yield
  ensure
    ENV["URING_IO_BACKEND"] = before
  end

  # The backend of a new selector of the class.
  def backend_of(selector_class = UringIO::Selector, **)
    in_thread do
      selector = selector_class.new(Fiber.current, **)
      selector.backend
    ensure
      selector&.close
    end
  end

  each_own_selector do
    it "uses the backend of its class, whatever URING_IO_BACKEND says" do
      expect(backend_of(selector_class)).to eq(backend)
      with_environment("poll") { expect(backend_of(selector_class)).to eq(backend) }
      expect(selector_class).to be < UringIO::Selector
    end

    it "takes the backend's name as a Symbol or String" do
      expect(backend_of(backend:)).to eq(backend)
      expect(backend_of(backend: backend.to_s)).to eq(backend)
    end

    it "takes the backend from URING_IO_BACKEND unless the program names another" do
      with_environment(backend.to_s) do
        expect(backend_of).to eq(backend)
        expect(backend_of(backend: nil)).to eq(backend)
        expect(backend_of(backend: :poll)).to eq(:poll)
      end
    end

    it "takes and checks the size of a ring, also on backends without a ring" do
      [1, 8, 4096].each { |entries| expect(backend_of(selector_class, entries:)).to eq(backend) }
      [0, -1, 2**31].each do |wrong|
        expect { backend_of(selector_class, entries: wrong) }.to raise_error(ArgumentError, /entries/)
      end
      expect { backend_of(selector_class, depth: 1) }.to raise_error(ArgumentError, /depth/)
    end

    it "serves more waiting fibers than the ring has entries" do
      selecting(entries: 1) do |selector, _|
        reader, writer = pipe
        waiters = Array.new(100) { started { wait_for(selector, reader, IO::READABLE) } }
        run_what_can(selector)
        writer.write("x")
        run_until(selector) { waiters.all?(&:done?) }
        expect(waiters.map(&:value)).to all(eq(IO::READABLE))
      end
    end

    it "raises TypeError for a loop that is no fiber" do
      [nil, 1, Thread.current, Object.new].each do |wrong|
        expect { selector_class.new(wrong) }.to raise_error(TypeError)
      end
      expect { selector_class.new(Fiber.current, Fiber.current) }.to raise_error(ArgumentError)
    end

    it "makes no selector that works before initialize, nor one that can be initialized twice" do
      blank = selector_class.allocate
      expect(blank).to be_closed
      expect(blank.wakeup).to be(false)
      expect(blank.close).to be_nil
      expect { blank.push(Fiber.current) }.not_to raise_error
      { loop: [], idle_duration: [], ready?: [], select: [0], transfer: [], yield: [] }.each do |name, arguments|
        expect { blank.public_send(name, *arguments) }.to raise_error(UringIO::ClosedError)
      end
      selecting { |selector, fiber| expect { selector.send(:initialize, fiber) }.to raise_error(UringIO::Error) }
    end

    it "makes selectors that cannot be copied: two objects cannot own one backend" do
      selecting do |selector, _|
        copy = nil
        error = raised { copy = selector.dup }
        expect(error || copy).to be_a(TypeError).or be_a(NoMethodError).or(satisfy("be unusable", &:closed?))
      end
    end

    it "works for a subclass" do
      subclass = Class.new(selector_class) { def select(duration) = [super] }
      in_thread do
        selector = subclass.new(Fiber.current)
        expect(selector.select(0)).to eq([0])
        selector.close
      end
    end
  end

  it "takes the best backend that works when the program names none, also for an empty variable" do
    [nil, ""].each { |value| with_environment(value) { expect(backend_of).to eq(UringIO.support.best) } }
  end

  it "refuses unknown names of backends, from either source, and lists the known ones" do
    expect { backend_of(backend: :devpoll) }.to raise_error(ArgumentError, /"devpoll".*:io_uring, :epoll/)
    with_environment("bogus") { expect { backend_of }.to raise_error(ArgumentError, /URING_IO_BACKEND.*"bogus"/) }
  end

  it "raises UnsupportedError when the program names a backend that cannot work" do
    missing = UringIO.support.backends.values.reject(&:available?)
    expect(missing).not_to be_empty # at least the backends of other systems
    missing.each do |backend|
      expect { backend_of(backend: backend.name) }.to raise_error(UringIO::UnsupportedError, /#{backend.name}/)
    end
  end
end
