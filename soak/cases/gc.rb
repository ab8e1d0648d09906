# frozen_string_literal: true

require "tmpdir"
require_relative "../case"

# The collector runs at every allocation, moves what it can, and finds fibers that nobody but the scheduler knows, while
# operations of all kinds are in flight.
Case.run do
  folder = Dir.mktmpdir("uring_io-soak-")
  path = File.join(folder, "file")
  content = Random.bytes(50_000)
  File.binwrite(path, content)

  stressed = lambda do |&work|
    GC.stress = true
    work.call
  ensure
    GC.stress = false
  end

  move = lambda do
    GC.compact
    GC.verify_compaction_references(toward: :empty, expand_heap: true) if random.rand(20).zero?
  rescue NotImplementedError
    GC.start
  end

  # Text goes round, whoever holds it.
  echo = lambda do
    one, other = UNIXSocket.pair
    Fiber.schedule do
      while (bytes = other.read(8))
        other.write(bytes)
      end
    end
    text = random.bytes(8)
    one.write(text)
    Fiber.schedule { move.call }
    expect(one.read(8) == text, "other bytes came back")
    [one, other].each(&:close_write)
    done(4)
  end

  # Strings and buffers of calls, alone, in batches and in chains.
  calls = lambda do |ring|
    file = File.open(path)
    offset = random.rand(content.bytesize)
    length = random.rand(1..5000)
    expected = content.byteslice(offset, length)
    expect(ring.read(file, length, offset:) == expected, "a read brought other bytes")
    buffer = IO::Buffer.new(length)
    read = stressed.call { ring.read(file, buffer, offset:) }
    expect(buffer.get_string(0, read) == expected, "a buffer has other bytes")
    results = stressed.call { ring.batch { |batch| 5.times { batch.read(file, length, offset:) } } }
    expect(results == [expected] * 5, "a batch brought other bytes")
    reader, writer = IO.pipe
    stressed.call do
      ring.chain do |chain|
        opened = chain.open(path)
        chain.write(writer, chain.read(opened, 1000))
        chain.close(opened)
      end
    end
    expect(reader.readpartial(2000) == content.byteslice(0, 1000), "a chain brought other bytes")
    [file, reader, writer].each(&:close)
    done(9)
  end

  stream = lambda do |ring|
    one, other = UNIXSocket.pair
    text = random.bytes(20_000)
    Fiber.schedule do
      other.write(text)
      other.close
    end
    received = +""
    ring.recv_each(one) do |bytes|
      received << bytes
      move.call if random.rand(10).zero?
    end
    expect(received == text, "a stream brought other bytes")
    one.close
    done
  end

  # Nobody but the scheduler knows these fibers.
  forgotten = lambda do
    woken = 0
    10.times { Fiber.schedule { sleep(0.001) && woken += 1 } }
    GC.start
    move.call
    sleep(0.001) until woken == 10
    done(10)
  end

  automatic = GC.respond_to?(:auto_compact=)
  while more?
    GC.auto_compact = random.rand(2).zero? if automatic
    fault
    scheduled do
      ring = UringIO::Ring.new(backend:)
      20.times do
        break unless more?

        stressed.call { echo.call }
        calls.call(ring)
        stream.call(ring)
        forgotten.call
      end
      ring.close
    end
    # The same without a scheduler.
    ring = UringIO::Ring.new(backend:)
    calls.call(ring)
    ring.close
  end
  File.unlink(path)
  Dir.rmdir(folder)
end
