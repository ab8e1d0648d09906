# frozen_string_literal: true

require_relative "async_helper"

# Our scheduler's promises (spec/uring_io/close_under_waiter_spec.rb), for tasks of Async on our selectors.
RSpec.describe "An IO that an Async task waits on and somebody closes" do
  # The outcomes of the waiting task and of the closer, in order.
  def closed_under(task, ours, wait, by: :itself, way: :close.to_proc)
    log = []
    task.async { log << outcome_of { wait.call(ours) } }
    expect(log).to be_empty
    work = lambda do
      way.call(ours)
      log << :closed
    end
    case by
    when :itself then work.call
    when :task then task.async { work.call }
    when :thread then Thread.new(&work).join
    end
    eventually { log.size == 2 }
    log
  end

  def outcome_of
    yield
  rescue StandardError => error
    error
  end

  def be_an_ended_wait
    be_an_instance_of(IOError).and have_attributes(message: /closed/)
  end

  # Strings of the size of an IO's read buffer, which take its place in memory once Ruby has freed it.
  def canaries = Array.new(100) { "v" * 8191 }

  # A pair of which one IO gets the number. That one comes first.
  def taking(number)
    pair = unix_pair
    pair = unix_pair until pair.any? { |io| io.fileno == number }
    pair.partition { |io| io.fileno == number }.flatten
  end

  def filled_pipe = pipe.reverse.tap { |ours, _| fill(ours) }

  def filled_pair = unix_pair.tap { |ours, _| fill(ours) }

  reads = {
    gets: ->(io) { io.gets }, each_line: ->(io) { io.each_line { nil } }, readline: ->(io) { io.readline },
    getc: ->(io) { io.getc }, getbyte: ->(io) { io.getbyte }, each_char: ->(io) { io.each_char { nil } },
    eof?: ->(io) { io.eof? }, read: ->(io) { io.read(10) }, readpartial: ->(io) { io.readpartial(10) },
    wait_readable: ->(io) { io.wait_readable }
  }
  waits = reads.transform_values { |wait| [%i[unix_pair tcp_pair pipe], wait] }.merge(
    "write, where there is no room," => [%i[filled_pipe filled_pair], ->(io) { io.write("more") }],
    wait_writable: [%i[filled_pipe], ->(io) { io.wait_writable }],
    recv: [%i[unix_pair], ->(io) { io.recv(10) }],
    accept: [%i[tcp_server], ->(io) { io.accept }]
  )
  closers = %i[itself task thread]

  each_reactor do |name|
    next if name == AsyncPrograms::IO_EVENT # before 4.0, Ruby tells no scheduler about a close

    waits.each do |wait_name, (places, wait)|
      it "raises IOError in #{wait_name}, whoever closes it" do
        reactor do |task|
          places.product(closers).each do |place, by|
            ours, = public_send(place)
            expect(closed_under(task, ours, wait, by:)).to contain_exactly(be_an_ended_wait, :closed)
          end
        end
      end
    end

    it "writes nothing into its freed read buffer, and its peer sees the close at once" do
      reactor do |task|
        %i[unix_pair pipe].product(closers, %i[gets getc each_line]).each do |place, by, read|
          ours, peer = public_send(place)
          closed_under(task, ours, reads.fetch(read), by:)
          strings = canaries
          expect { peer.write("A" * 8000) }.to raise_error(Errno::EPIPE)
          let_others_run
          expect(strings).to all(eq("v" * 8191))
        end
      end
    end

    it "leaves new data to the next IO with its number" do
      reactor do |task|
        closers.each do |by|
          ours, = unix_pair
          number = ours.fileno
          closed_under(task, ours, reads[:gets], by:)
          taker, peer = taking(number)
          strings = canaries
          reading = task.async { Array.new(2) { taker.gets } }
          peer.write(first = "#{'A' * 8000}\n")
          let_others_run
          peer.write("second\n")
          expect(reading.wait).to eq([first, "second\n"])
          expect(strings).to all(eq("v" * 8191))
        end
      end
    end

    it "as a file reads nothing into freed memory, and nothing from the next file" do
      contents = %w[A B].to_h { |letter| [letter, file_with(letter * 2_000_000)] }
      contents.each_value { |path| File.open(path, &:fsync) }
      outcomes = []
      strings = []
      reactor do |task|
        100.times do |index|
          file = File.open(contents["A"])
          file.advise(:dontneed)
          file.seek(index * 16_384)
          task.async { outcomes << outcome_of { file.getc } }
          index.even? ? file.close : Thread.new { file.close }.join
          File.open(contents["B"]) { strings.concat(canaries.first(10)) }
        end
        eventually { outcomes.size == 100 }
      end
      expect(outcomes).to all(eq("A").or(be_an_ended_wait))
      expect(strings).to all(eq("v" * 8191))
    end

    it "reports no event of the file that a copy keeps open to the next IO with its number, after a timed-out wait" do
      reactor do
        ours, peer = unix_pair
        closing(ours.dup)
        expect(ours.wait_readable(0.001)).to be_nil
        number = ours.fileno
        ours.close
        taker, other = taking(number)
        peer.write("for the copy")
        expect(taker.wait_readable(0.01)).to be_nil
        other.write("mine")
        expect(taker.readpartial(10)).to eq("mine")
      end
    end

    { "another IO" => ->(io, other, _) { io.reopen(other) }, "a path" => ->(io, _, path) { io.reopen(path) } }
      .each do |what, reopen|
      it "or reopens as #{what} ends the wait, and then reads from the new file" do
        path = file_with("new\n")
        reactor do |task|
          %i[gets readpartial wait_readable].product(closers).each do |read, by|
            ours, peer = pipe
            other, writer = pipe
            writer.write("new\n")
            log = closed_under(task, ours, reads.fetch(read), by:, way: ->(io) { reopen.call(io, other, path) })
            expect(log).to contain_exactly(be_an_ended_wait, :closed)
            expect { peer.write("late") }.to raise_error(Errno::EPIPE)
            expect(ours.gets).to eq("new\n")
          end
        end
      end
    end

    it "in a trap handler ends the wait" do
      ours, = unix_pair
      usual = trap("USR2") { ours.close }
      log = reactor { |task| closed_under(task, ours, reads[:gets], way: ->(_) { Process.kill("USR2", Process.pid) }) }
      expect(log).to include(be_an_ended_wait)
    ensure
      trap("USR2", usual)
    end
  end
end
