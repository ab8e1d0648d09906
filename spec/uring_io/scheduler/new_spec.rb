# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, ".new" do
  def with_environment(value)
    before = ENV.fetch("URING_IO_BACKEND", nil)
    ENV["URING_IO_BACKEND"] = value
    yield
  ensure
    ENV["URING_IO_BACKEND"] = before
  end

  def backend_of(**)
    in_thread do
      scheduler = described_class.new(**)
      scheduler.backend
    ensure
      scheduler&.close
    end
  end

  each_backend do |backend|
    it "takes the backend's name as a Symbol or String" do
      expect(backend_of(backend:)).to eq(backend)
      expect(backend_of(backend: backend.to_s)).to eq(backend)
    end

    it "takes the backend from URING_IO_BACKEND unless the program names another" do
      with_environment(backend.to_s) do
        expect(backend_of).to eq(backend)
        expect(backend_of(backend: nil)).to eq(backend)
        expect(backend_of(backend: :poll)).to eq(:poll)
        expect(in_thread { UringIO.run(&:backend) }).to eq(backend)
      end
    end

    it "makes a scheduler of a subclass, which Ruby accepts" do
      subclass = Class.new(described_class)
      in_thread do
        Fiber.set_scheduler(subclass.new(backend:))
        expect(Fiber.scheduler).to be_a(subclass)
      end
    end

    it "makes thousands of schedulers, one after the other" do
      in_thread { 1_500.times { described_class.new(backend:, entries: 8).close } }
    end

    it "makes schedulers that the garbage collector closes when nobody has used them" do
      in_thread { 50.times { described_class.new(backend:, entries: 8) } }
      3.times { GC.start }
    end
  end

  it "takes the best backend that works when the program names none, also for an empty variable" do
    [nil, ""].each { |value| with_environment(value) { expect(backend_of).to eq(UringIO.support.best) } }
  end

  it "refuses unknown names of backends, from either source, and lists the known ones" do
    expect { described_class.new(backend: :devpoll) }.to raise_error(ArgumentError, /"devpoll".*:io_uring, :epoll/)
    expect { described_class.new(backend: "") }.to raise_error(ArgumentError)
    expect { described_class.new(backend: "e\0poll") }.to raise_error(ArgumentError)
    with_environment("bogus") do
      expect { described_class.new }.to raise_error(ArgumentError, /URING_IO_BACKEND.*"bogus"/)
    end
  end

  it "refuses a backend of another system by its name, and says which backends this system has" do
    expect { described_class.new(backend: :kqueue) }
      .to raise_error(UringIO::UnsupportedError, /kqueue is a call of macOS and BSD; this is Linux.*epoll/)
    with_environment("kqueue") { expect { described_class.new }.to raise_error(UringIO::UnsupportedError, /kqueue/) }
  end

  it "refuses values of other types" do
    [1, [], Object, true].each do |wrong|
      expect { described_class.new(backend: wrong) }.to raise_error(TypeError, /backend/)
    end
    expect { described_class.new(entries: "8") }.to raise_error(TypeError)
    expect { described_class.new(:io_uring) }.to raise_error(ArgumentError)
    expect { described_class.new(depth: 1) }.to raise_error(ArgumentError, /depth/)
  end

  it "refuses rings with no or too many entries" do
    [0, -1, 32_769, 2**31].each do |wrong|
      expect { described_class.new(entries: wrong) }.to raise_error(ArgumentError, /entries/)
    end
    expect { described_class.new(entries: 2**70) }.to raise_error(RangeError)
  end

  it "takes rings of any allowed size, with and without a polling kernel thread" do
    skip Backends.missing(:io_uring) if Backends.missing(:io_uring)

    [1, 2, 3, 1000, 4096].each { |entries| expect(backend_of(backend: :io_uring, entries:)).to eq(:io_uring) }
    polled = in_thread do
      # sqpoll warns on machines with few CPUs.
      verbose = $VERBOSE
      $VERBOSE = nil
      UringIO.run(backend: :io_uring, sqpoll: true, sqpoll_idle: 0.1, entries: 8) do
        reader, writer = pipe
        Fiber.schedule { writer.write("polled") }
        reader.readpartial(10)
      end
    ensure
      $VERBOSE = verbose
    end
    expect(polled).to eq("polled")
  end

  it "does not fall back when the program wants a polling kernel thread" do
    expect { described_class.new(backend: :epoll, sqpoll: true) }.to raise_error(UringIO::UnsupportedError, /sqpoll/)
    expect { described_class.new(sqpoll: true, sqpoll_idle: -1) }.to raise_error(ArgumentError)
    expect { described_class.new(sqpoll: true, sqpoll_idle: 1e9) }.to raise_error(ArgumentError, /sqpoll_idle/)
    expect { described_class.new(sqpoll: true, sqpoll_cpu: :first) }.to raise_error(TypeError)
  end

  it "makes no scheduler that works before initialize, nor one that can be initialized twice" do
    blank = described_class.allocate
    expect(blank).to be_closed
    expect { blank.backend }.to raise_error(UringIO::Error)
    expect { blank.kernel_sleep(0) }.to raise_error(UringIO::ClosedError)
    expect { blank.stats }.to raise_error(UringIO::Error)
    expect { blank.unblock(:label, Fiber.current) }.not_to raise_error
    blank.close
    in_thread do
      scheduler = described_class.new
      expect { scheduler.send(:initialize) }.to raise_error(UringIO::Error)
      scheduler.close
    end
  end

  it "makes schedulers that cannot be copied: two objects cannot own one backend" do
    in_thread do
      scheduler = described_class.new
      copy = nil
      error = raised { copy = scheduler.dup }
      expect(error || copy).to be_a(TypeError).or be_a(NoMethodError).or(satisfy("be unusable", &:closed?))
      scheduler.close
    end
  end
end
