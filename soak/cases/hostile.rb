# frozen_string_literal: true

require "fileutils"
require "tmpdir"
require_relative "../case"

# Calls every public method and hook with random arguments, as a program that has gone wrong would. The result must be a
# value or an exception of the documented classes: no crash, no hang.
class Hostile
  Stop = Class.new(StandardError)
  Evil = Class.new(StandardError)

  # The exceptions that a call may raise.
  ALLOWED = [ArgumentError, TypeError, RangeError, IOError, SystemCallError, UringIO::Error, ThreadError, FiberError,
             NoMethodError, FrozenError, IO::Buffer::LockedError, IO::Buffer::AccessError, IO::Buffer::AllocationError,
             IO::Buffer::InvalidatedError, IO::Buffer::MaskError, StopIteration, Evil, LocalJumpError,
             UringIO::Scheduler::Shutdown].freeze

  # Objects whose conversions fail, lie, or do something else meanwhile.
  CONVERSIONS = %i[to_io to_str to_path to_int to_ary to_hash fileno alive? transfer call to_proc].freeze

  # They take a descriptor that is Ruby's or a ring's.
  LEFT_OUT = %i[close_descriptor io_close].freeze

  def initialize(soak, folder)
    @soak = soak
    @folder = folder
  end

  def random = @soak.random

  # One call of something, with something.
  def call(subject)
    name = pick(methods_of(subject.class))
    arguments = Array.new(random.rand(5)) { argument }
    keywords = random.rand(3).zero? ? { pick(%i[timeout offset entries backend at flags events]) => argument } : {}
    @last = [subject.class, name, arguments.map { |object| describe(object) }, keywords.keys]
    block = pick([nil, nil, proc { |*| }, proc { |*| raise Evil }, proc { |first| first&.nop }])
    subject.public_send(name, *arguments, **keywords, &block)
  rescue *ALLOWED, Stop
    nil
  rescue Exception => error # rubocop:disable Lint/RescueException
    # Fiber#raise makes a RuntimeError of no arguments.
    asked_for = name == :raise && error.instance_of?(RuntimeError)
    @soak.violation("#{error.class}: #{error.message} for #{@last.inspect}") unless asked_for
  ensure
    @soak.done
  end

  # The last call, for messages.
  attr_reader :last

  # The objects that it calls. It makes new ones now and then, because calls close them.
  def subjects
    backend = @soak.backend
    if @subjects.nil? || random.rand(200).zero?
      @subjects&.each { |subject| subject.close if subject.respond_to?(:close) }
      ring = UringIO::Ring.new(backend:, entries: 8)
      @subjects = [ring, ring, UringIO::Selector.new(Fiber.current, backend:), UringIO::Scheduler.new(backend:),
                   UringIO.support, UringIO::Ring::Batch.new, UringIO::Ring::Chain.new]
      @subjects << ring.register(IO::Buffer.new(4096)) if backend == :io_uring
      @subjects << Fiber.scheduler if Fiber.scheduler
    end
    @subjects
  rescue *ALLOWED
    @subjects ||= [UringIO.support]
  end

  def pick(things) = things[random.rand(things.size)]

  private

  # Those that are ours, and not every object's.
  def methods_of(subject_class)
    @methods ||= {}
    @methods[subject_class] ||= (subject_class.public_instance_methods - LEFT_OUT).select do |name|
      subject_class.instance_method(name).owner.name&.start_with?("UringIO")
    end
  end

  def describe(object)
    case object
    when String then "String of #{object.bytesize}"
    when nil, true, false, Numeric, Symbol then object.inspect
    else Kernel.instance_method(:class).bind_call(object).to_s
    end
  end

  # Not the descriptors of Ruby and the rings themselves, 3 and up.
  NUMBERS = [0, -1, -2, 64, 4096, 9999, 65_536, (2**31) - 1, 2**31, -(2**31), 2**32, 2**63, 2**64, -(2**70), 0.0, 0.001,
             -1.5, Float::NAN, Float::INFINITY, 1e300].freeze

  def argument
    case random.rand(16)
    when 0..2 then pick(NUMBERS)
    when 3 then pick([nil, true, false, :pid, :all, :nothing, :io_uring, :first, :r, :RDWR])
    when 4 then pick(["", "name", "a\0b", "x" * 100_000, "\xFF", "r", "user.x".b, "frozen"]).dup
    when 5 then pick(%w[name other user.x io_uring]).freeze
    when 6 then pick([[], {}, [nil], [1, 2], { a: 1 }, [:beneath], %w[x y]])
    when 7 then pick(ios)
    when 8, 9 then buffer
    when 10 then Fiber.new { |*| nil }
    when 11 then Fiber.current
    when 12 then evil
    when 13 then pick([Object.new, BasicObject.new, Class, Thread.current, proc { |*| }, 1..2, Rational(1, 3)])
    when 14 then pick(subjects)
    else pick([Addrinfo.tcp("127.0.0.1", 1), Socket.sockaddr_in(1, "127.0.0.1"), IndexError, IndexError.new("x")])
    end
  end

  def ios
    file = File.open(File.join(@folder, "file"), "w+")
    reader, writer = IO.pipe
    one, other = UNIXSocket.pair
    @ios = [*(@ios || []).last(30), file, reader, writer, one, other]
    @ios.first.close if random.rand(4).zero?
    @ios.shift.close while @ios.size > 40
    @ios
  end

  def buffer
    whole = IO::Buffer.new(pick([1, 8, 4096, 20_000]))
    case random.rand(6)
    when 0 then whole.tap(&:free)
    when 1 then whole.slice(0, 1).tap { whole.free if random.rand(2).zero? }
    when 2 then IO::Buffer.for("frozen string")
    when 3 then IO::Buffer.for(+"string")
    else whole
    end
  end

  def evil
    conversion = pick(CONVERSIONS)
    answer = pick([proc { raise Evil }, proc { 1 }, proc { "name" }, proc { pick(ios) }, proc { sleep(0) }])
    Object.new.tap { |object| object.define_singleton_method(conversion) { |*| answer.call } }
  end
end

Case.run(operations: 1_000_000) do
  output = $stdout.dup
  [$stdout, $stderr].each { |io| io.reopen(File::NULL, "w") }
  folder = Dir.mktmpdir("uring_io-soak-")
  Dir.chdir(folder)
  hostile = Hostile.new(self, folder)
  calls = 0
  worker = Thread.new do
    while more?
      begin
        if random.rand(2).zero?
          200.times { hostile.call(hostile.pick(hostile.subjects)) }
        else
          UringIO.run(backend:) { 200.times { hostile.call(hostile.pick(hostile.subjects)) } }
        end
      rescue Hostile::Stop, *Hostile::ALLOWED
        nil
      end
      GC.start if random.rand(50).zero?
    end
  end
  # A call that waits for what never comes is ended.
  stuck = 0
  until worker.join(0.02)
    if operations == calls
      stuck += 1
      fault
      worker.raise(Hostile::Stop)
      if stuck > 500
        violation("hangs in #{hostile.last.inspect}: #{worker.backtrace&.first(5)}")
        output.puts(JSON.generate(operations:, faults:, violations: @violations))
        output.flush
        exit!(0)
      end
    else
      stuck = 0
    end
    calls = operations
  end
  worker.join
  FileUtils.rm_rf(folder)
  $stdout = output
end
