# frozen_string_literal: true

require_relative "../case"

# Reads and writes are ended at random moments while their memory is used again at once. Each stream carries numbered
# words, so a byte that is lost, doubled or foreign is seen; every buffer lies between words that nobody may change.
class Stream
  WORD = "J"
  SIZE = [0].pack(WORD).bytesize
  CANARY = "\xA5".b * 64
  # The numbers go round; twice, so that any part of them is one piece.
  NUMBERS = 1 << 16
  WORDS = ((0...NUMBERS).to_a.pack("#{WORD}*") * 2)

  attr_reader :reader, :writer

  def initialize(soak, pair)
    @soak = soak
    @reader, @writer = pair
    @sent = @received = soak.random.rand(NUMBERS)
    @left = "".b
  end

  # More numbers; what a write that was ended has not written is written by the next.
  def pending
    return @pending if @pending

    # Few as a rule, so that readers wait; and many at times, so that writers do.
    count = @soak.random.rand(@soak.random.rand(8).zero? ? 1..2000 : 1..50)
    @pending = words(@sent, count)
    @sent = (@sent + count) % NUMBERS
    @pending
  end

  def written(count)
    @pending = @pending.byteslice(count..)
    @pending = nil if @pending.empty?
    @soak.done
  end

  def read(bytes)
    @left << bytes
    whole = @left.bytesize / SIZE
    compare(@left.slice!(0, whole * SIZE), words(@received, whole))
    @received = (@received + whole) % NUMBERS
    @soak.done
  end

  private

  def compare(found, wanted)
    return if found == wanted

    pairs = found.unpack("#{WORD}*").zip(wanted.unpack("#{WORD}*"))
    index = pairs.index { |came, due| came != due }
    @soak.violation("#{pairs[index].first} came where #{pairs[index].last} was due, #{index} words into #{pairs.size}")
  end

  def words(first, count) = WORDS.byteslice(first * SIZE, count * SIZE)
end

Interrupted = Class.new(StandardError)

KINDS = [-> { UNIXSocket.pair }, -> { IO.pipe }, lambda do
  server = TCPServer.new("127.0.0.1", 0)
  client = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
  [server.accept, client].tap { server.close }
end].freeze

Case.run("ended reads": 1_000_000) do
  # A part of a buffer between canaries. Each is made anew, so that memory which is freed too early is somebody else's
  # at once.
  guarded = lambda do |size, &use|
    space = Stream::CANARY.bytesize
    buffer = IO::Buffer.new(size + (2 * space))
    [0, size + space].each { |at| buffer.set_string(Stream::CANARY, at) }
    use.call(buffer.slice(space, size))
    intact = [0, size + space].all? { |at| buffer.get_string(at, space) == Stream::CANARY }
    expect(intact, "a canary was overwritten")
  end

  reading = lambda do |stream|
    size = random.rand(1..4096)
    return stream.read(stream.reader.readpartial(size)) if random.rand(2).zero?

    guarded.call(size) do |buffer|
      count = buffer.read(stream.reader, 0)
      stream.read(buffer.get_string(0, count)) if count.positive?
    end
  end

  # Only what says how much it has written can be ended in the middle.
  writing = lambda do |stream|
    count = stream.writer.write_nonblock(stream.pending, exception: false)
    next stream.writer.wait_writable if count == :wait_writable

    stream.written(count)
    sleep(0)
  end

  work = lambda do |job, stream|
    next job.call(stream) unless random.rand(4).zero?

    Timeout.timeout(random.rand * 0.001, Interrupted) { job.call(stream) }
  rescue Interrupted
    fault
    count(:"ended reads") if job == reading
  end

  Thread.report_on_exception = false
  scheduled do
    streams = Array.new(30) { |number| Stream.new(self, KINDS[number % KINDS.size].call) }
    fibers = streams.product([reading, writing]).map do |stream, job|
      Fiber.schedule { work.call(job, stream) while more? }
    end
    # Raises into whoever waits, at random, and lets strings take the place of what is freed.
    while more?
      sleep(random.rand * 0.0005)
      Array.new(10) { "x" * random.rand(1..10_000) }
      fibers.sample(40, random:).each { |fiber| fiber.raise(Interrupted) if fiber.alive? }
    end
    raise SystemExit
  end
rescue SystemExit
  nil
end
