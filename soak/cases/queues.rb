# frozen_string_literal: true

require "tempfile"
require_relative "../case"

# Queues that are far too small for their work: rings of 1, 2 and 8 entries under thousands of operations,
# batches of hundreds, chains as long as the ring, bursts that the completion queue cannot hold; and signals that keep
# interrupting every wait. Each operation must be over once, with its own result.

Late = Class.new(StandardError)

ENTRIES = [1, 2, 8].freeze
FIBERS = 100
# Of each ring, in the long form.
GOALS = ENTRIES.to_h { |entries| [:"operations of #{entries} entries", 10_000] }.freeze

Case.run(**GOALS) do
  file = Tempfile.create("queues").tap { |it| it.write((0...1000).to_a.pack("J*")) && it.flush }
  same = lambda do |what, found, wanted|
    expect(found == wanted, "#{what}: #{found.inspect[0, 200]} and not #{wanted.inspect[0, 200]}")
  end

  # The number at a place of the file, read by a call: none may be taken for another one.
  numbers = ->(bytes) { bytes.map { |it| it.is_a?(String) ? it.unpack1("J") : it } }

  # Hundreds of calls at once, with failures among them.
  batch = lambda do |ring|
    places = Array.new(random.rand(1..300)) { random.rand(1100) }
    found = ring.batch { |b| places.each { |place| b.read(file, 8, offset: place * 8) } }
    same.call("a batch", numbers.call(found), places.map { |place| place if place < 1000 })
    done(places.size)
  end
  # Calls that wait for each other: all of them must be in flight.
  meeting = lambda do |ring|
    count = random.rand(1..100)
    sockets = Array.new(count) { UNIXSocket.pair }
    found = ring.batch do |b|
      sockets.each { |reader, _| b.recv(reader, 8) }
      sockets.each_with_index.to_a.shuffle(random:).each { |(_, writer), index| b.send(writer, [index].pack("J")) }
    end
    same.call("calls that wait for each other", numbers.call(found), (0...count).to_a + ([8] * count))
    done(2 * count)
    sockets.flatten.each(&:close)
  end
  chain = lambda do |ring, entries|
    size = random.rand(1..entries)
    places = Array.new(size) { random.rand(1000) }
    found = ring.chain { |c| places.each { |place| c.read(file, 8, offset: place * 8) } }
    same.call("a chain", numbers.call(found), places)
    broken = random.rand(size)
    begin
      ring.chain { |c| size.times { |index| index == broken ? c.read(file, 8, offset: 7999) : c.nop } }
    rescue UringIO::ChainError => error
      fault
    end
    next violation("a chain with a short read did not break") unless error

    same.call("a broken chain", error.step.index, broken)
    canceled = error.outcomes.drop(broken + 1).map(&:class).uniq
    same.call("what follows it", canceled - [Errno::ECANCELED], [])
    done(2 * size)
  end
  refused = lambda do |ring, entries|
    ring.chain { |c| (entries + 1).times { c.nop } }
    violation("a chain of #{entries + 1} went into a ring of #{entries}") if backend == :io_uring
  rescue ArgumentError
    fault
  end
  stream = lambda do |ring|
    reader, writer = UNIXSocket.pair
    sent = (0...random.rand(1..2000)).to_a.pack("J*")
    writer.write_nonblock(sent)
    writer.close
    same.call("a stream", ring.recv_each(reader).to_a.join.unpack("J*"), sent.unpack("J*"))
    done
    reader.close
  end
  works = [batch, meeting, chain, stream, refused]
  work = lambda do |ring, entries|
    made = works.sample(random:)
    made.arity == 2 ? made.call(ring, entries) : made.call(ring)
  end

  # Many fibers that wait at the same time, for what comes at once.
  burst = lambda do
    reader, writer = IO.pipe
    woken = 0
    waiting = Array.new(random.rand(1..1000)) { Fiber.schedule { reader.wait_readable && woken += 1 } }
    writer.write("x")
    sleep(0.0001) until waiting.none?(&:alive?)
    same.call("fibers that a burst wakes", woken, waiting.size)
    # Each fiber's block knows the others: one stale word on a stack would keep all of them, with their stacks.
    waiting.clear
    done(woken)
    [reader, writer].each(&:close)
  end
  # Each of many operations gets its own bytes; some are ended before.
  echoes = lambda do
    over = Thread::Queue.new
    FIBERS.times do |number|
      Fiber.schedule do
        reader, writer = UNIXSocket.pair
        ended = random.rand(10).zero?
        Fiber.schedule { writer.write(number.to_s) } unless ended
        found = begin
          Timeout.timeout(ended ? random.rand * 0.002 : 20, Late) { reader.readpartial(10) }
        rescue Late => error
          fault
          error.class
        end
        same.call("an echo", found, ended ? Late : number.to_s)
        [reader, writer].each(&:close)
        over << true
      end
    end
    FIBERS.times { over.pop }
    done(FIBERS)
  end
  files = lambda do
    places = Array.new(FIBERS) { random.rand(1000) }
    found = []
    places.each_with_index { |place, index| Fiber.schedule { found[index] = file.pread(8, place * 8) } }
    sleep(0.0001) until found.compact.size == FIBERS
    same.call("parts of a file", numbers.call(found), places)
    done(FIBERS)
  end
  fibers = [burst, echoes, files]

  signals = 0
  %i[USR1 CHLD WINCH].each { |name| trap(name) { signals += 1 } }
  # The main thread gets them, which is the one that waits.
  dice = Random.new(random.rand(1 << 30))
  storm = Thread.new do
    while more?
      Process.kill(%i[USR1 CHLD WINCH].sample(random: dice), Process.pid)
      fault
      sleep(dice.rand * 0.0005)
    end
  end

  # With a scheduler and without.
  rounds = ENTRIES.flat_map do |entries|
    [lambda do |time|
      UringIO.run(backend:, entries:) do
        ring = UringIO::Ring.new(backend:, entries:)
        (random.rand(2).zero? ? fibers.sample(random:).call : work.call(ring, entries)) until time.call
        ring.close
      end
    end, lambda do |time|
      ring = UringIO::Ring.new(backend:, entries:)
      work.call(ring, entries) until time.call
      ring.close
    end]
  end
  before = descriptors
  rounds.each_with_index do |round, index|
    ends = now + ((seconds - 0.2) / rounds.size)
    ring = GOALS.keys[index / 2]
    first = operations
    enough = -> { now > ends && operations - first >= goal(ring) }
    Timeout.timeout(seconds + 20, Late) { round.call(-> { enough.call || !more? }) }
    count(ring, operations - first)
  rescue Late
    violation("round #{index} does not end")
  end
  storm.join
  expect(signals.positive?, "no signal came")
  GC.start
  expect(descriptors <= before, "#{descriptors - before} descriptors were left")
  File.unlink(file.path)
end
