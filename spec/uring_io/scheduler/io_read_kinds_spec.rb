# frozen_string_literal: true

require "fiddle"
require "io/console"
require "io/nonblock"
require "pty"

# Calls the IO methods that wait for input or room, on each kind of file that poll(2) can wait for. They return the same
# as without a scheduler, while other fibers run.
RSpec.describe UringIO::Scheduler, "#io_read and #io_write of every kind of file" do
  def native(name, count)
    Fiddle::Function.new(Fiddle::Handle::DEFAULT[name], [Fiddle::TYPE_VOIDP] * count, Fiddle::TYPE_INT)
  end

  # The two ends of a terminal. The slave passes on all bytes unprocessed.
  def raw_terminal
    PTY.open.each { |io| closing(io) }.tap { |_, slave| slave.raw! }
  end

  def fifo(mode)
    File.mkfifo(path = free_path)
    reader = closing(File.open(path, mode))
    [reader, closing(File.open(path, "w"))]
  end

  def eventfd
    closing(IO.for_fd(native("eventfd", 2).call(0, 0), "r+").tap { |io| io.sync = true })
  end

  # A timer, and a lambda that makes it expire.
  def timer
    io = closing(IO.for_fd(native("timerfd_create", 2).call(1, 0)))
    [io, -> { native("timerfd_settime", 4).call(io.fileno, 0, [0, 0, 0, 1].pack("q4"), 0) }]
  end

  # An inotify descriptor of a directory, and a lambda that changes something in that directory.
  def notifications
    io = closing(IO.for_fd(native("inotify_init1", 1).call(0)))
    FileUtils.mkdir(directory = free_path)
    native("inotify_add_watch", 3).call(io.fileno, directory, 0x100)
    [io, -> { File.write("#{directory}/new", "") }]
  end

  def fed_by(writer, text = "x\n")
    -> { writer.syswrite(text) }
  end

  with_nonblock = ->(io, nonblock) { io.tap { io.nonblock = nonblock } }

  # An IO without input, and a lambda that gives it some.
  inputs = {
    "a terminal" => -> { raw_terminal.then { |master, slave| [slave, fed_by(master)] } },
    "a terminal with O_NONBLOCK" => lambda {
      raw_terminal.then { |master, slave| [with_nonblock.call(slave, true), fed_by(master)] }
    },
    "a terminal that takes lines" => lambda {
      PTY.open.each { |io| closing(io) }.then { |master, slave| [slave, fed_by(master)] }
    },
    "the master of a terminal" => -> { raw_terminal.then { |master, slave| [master, fed_by(slave)] } },
    "a FIFO" => -> { fifo("r+").then { |reader, writer| [reader, fed_by(writer)] } },
    "a FIFO with O_NONBLOCK" => lambda {
      fifo(File::RDONLY | File::NONBLOCK).then { |reader, writer| [reader, fed_by(writer)] }
    },
    "a pipe" => -> { pipe.then { |reader, writer| [reader, fed_by(writer)] } },
    "a pipe without O_NONBLOCK" => lambda {
      pipe.then { |reader, writer| [with_nonblock.call(reader, false), fed_by(writer)] }
    },
    "an eventfd" => -> { eventfd.then { |io| [io, fed_by(io, [10].pack("Q"))] } },
    "an eventfd with O_NONBLOCK" => lambda {
      eventfd.then { |io| [with_nonblock.call(io, true), fed_by(io, [10].pack("Q"))] }
    },
    "a timerfd" => -> { timer },
    "inotify" => -> { notifications }
  }
  lines = inputs.keys - ["a timerfd", "inotify"]

  # Takes all available input, without a hook. A terminal passes its buffers on bit by bit.
  def taking_from(reader)
    -> { reader.read_nonblock(65_536, exception: false) }
  end

  # A full IO, and a lambda that makes room.
  outputs = {
    "a terminal" => -> { raw_terminal.then { |master, slave| fill(slave) && [slave, taking_from(master)] } },
    "the master of a terminal" => lambda {
      raw_terminal.then { |master, slave| fill(master) && [master, taking_from(slave)] }
    },
    "a FIFO" => -> { fifo("r+").then { |reader, writer| fill(writer) && [writer, taking_from(reader)] } },
    "a pipe" => -> { pipe.then { |reader, writer| fill(writer) && [writer, taking_from(reader)] } },
    "an eventfd" => lambda {
      eventfd.then { |io| io.syswrite([(2**64) - 2].pack("Q")) && [io, -> { io.wait_readable(0) && io.sysread(8) }] }
    }
  }

  # The outcome of a call.
  def outcome
    [:value, yield]
  rescue SystemCallError, IOError => error
    [:error, error.class]
  end

  # The outcome of the call in a thread, which then gets the input or room that it waits for.
  def in_a_thread(make, call)
    io, give = instance_exec(&make)
    thread = Thread.new { outcome { call.call(io) } }
    Thread.pass until thread.stop?
    give.call
    thread.value
  end

  # The outcome of the same call in a fiber, and whether other fibers ran meanwhile.
  def in_a_fiber(make, call)
    scheduled do
      io, give = instance_exec(&make)
      result = nil
      Fiber.schedule { result = outcome { call.call(io) } }
      let_others_run
      give.call
      eventually { result }
      result
    end
  end

  reads = {
    "sysread" => ->(io) { io.sysread(64) },
    "readpartial" => ->(io) { io.readpartial(64) },
    "getc" => ->(io) { io.binmode.getc },
    "getbyte" => :getbyte.to_proc,
    "read" => ->(io) { io.read(2) },
    "gets" => :gets.to_proc,
    "eof?" => :eof?.to_proc
  }

  each_backend do |_backend|
    inputs.each do |name, make|
      (lines.include?(name) ? reads : reads.except("gets")).each do |title, call|
        it "returns the same as without a scheduler for #{title} of #{name}" do
          expect(in_a_fiber(make, call)).to eq(in_a_thread(make, call))
        end
      end

      it "does not wait in read_nonblock of #{name}" do
        scheduled do
          io, give = instance_exec(&make)
          expect { io.read_nonblock(64) }.to raise_error(IO::WaitReadable)
          expect(io.read_nonblock(64, exception: false)).to eq(:wait_readable)
          give.call
          io.wait_readable
          expect(io.read_nonblock(64)).to be_a(String)
        end
      end
    end

    { "with O_NONBLOCK" => true, "without O_NONBLOCK" => false }.each do |how, nonblock|
      outputs.each do |name, make|
        it "waits for room in syswrite to #{name} #{how}" do
          scheduled do
            io, take = instance_exec(&make)
            io.nonblock = nonblock
            written = nil
            Fiber.schedule { written = outcome { io.syswrite("eight by") } }
            let_others_run
            # The kernel may still move bytes out of a full terminal, which makes room.
            expect(written).to be_nil unless name.include?("terminal")
            eventually { take.call && written }
            expect(written).to eq([:value, 8])
          end
        end
      end
    end

    it "returns at once from a terminal whose settings say not to wait" do
      scheduled do
        master, slave = raw_terminal
        slave.raw!(min: 0, time: 0)
        expect(slave.getch(min: 0)).to be_nil
        expect { slave.sysread(9) }.to raise_error(EOFError)
        expect { slave.readpartial(9) }.to raise_error(EOFError)
        expect { slave.read_nonblock(9) }.to raise_error(EOFError)
        master.syswrite("typed")
        expect(slave.sysread(9)).to eq("typed")
      end
    end

    it "ends sysread of a terminal by Timeout and by IO#timeout, without losing input" do
      scheduled do
        master, slave = raw_terminal
        expect { Timeout.timeout(0.01) { slave.sysread(9) } }.to raise_error(Timeout::Error)
        slave.timeout = 0.01
        expect { slave.sysread(9) }.to raise_error(IO::TimeoutError)
        master.syswrite("typed")
        expect(slave.sysread(9)).to eq("typed")
      end
    end
  end
end
