# frozen_string_literal: true

# A peer that writes and immediately closes wakes a multishot receive twice, and the kernel may forget the second wakeup
# (seen on Linux 6.18 and 7.3): see in_flight/guard.rs.
RSpec.describe UringIO::Ring, "streams whose peer goes right after it has written" do
  # Starts a process that, at each signal, writes to the next pair's output and closes it. Yields the lambda that gives
  # the signal.
  def with_peer(pairs, goes)
    cued, cue = pipe
    pid = fork do
      [cue, *pairs.map(&:first)].each(&:close)
      pairs.each { |_, output| goes.call(output) if cued.read(1) }
    ensure
      exit!(0)
    end
    pairs.each { |_, output| output.close }
    yield -> { cue.write("x") }
  ensure
    cue&.close
    Process.wait(pid)
  end

  # The outcomes of one stream for each pair.
  def outcomes(ring, pairs, goes)
    with_peer(pairs, goes) do |tell|
      pairs.map do |input, _|
        received = +""
        tell.call
        ring.recv_each(input, timeout: 2) { |piece| received << piece }
        received
      rescue SystemCallError, IO::TimeoutError => error
        [received, error.class]
      end
    end
  end

  write_then = ->(&way) { ->(output) { output.syswrite("bytes") && way.call(output) } }
  ways = {
    "closes a UNIX socket" => [:unix_pair, write_then.call(&:close), "bytes"],
    "shuts a UNIX socket down" => [:unix_pair, write_then.call { |socket| socket.shutdown(:WR) }, "bytes"],
    "closes a TCP socket" => [:tcp_pair, write_then.call(&:close), "bytes"],
    "resets a TCP connection" => [:tcp_pair, write_then.call do |socket|
      socket.setsockopt(Socket::Option.linger(true, 0))
      socket.close
    end, ["bytes", Errno::ECONNRESET]]
  }

  each_backend(only: [:io_uring]) do
    ways.each do |name, (pair, goes, outcome)|
      it "end when the peer #{name}" do
        everywhere do |ring|
          pairs = Array.new(100) { public_send(pair) }
          expect(outcomes(ring, pairs, goes).tally).to eq(outcome => 100)
        end
      end
    end

    it "go on after the peer has closed until all bytes have been read" do
      everywhere do |ring|
        input, output = unix_pair
        writer = Thread.new do
          50.times { output.write("x" * 20_000) }
          output.close
        end
        size = 0
        ring.recv_each(input) { |piece| size += piece.bytesize }
        writer.join
        expect(size).to eq(1_000_000)
      end
    end

    it "keep nothing open when they have ended: the peer sees the close" do
      everywhere do |ring|
        [unix_pair, tcp_pair].each do |input, output|
          output.write("x")
          ring.recv_each(input) { break }
          input.close
          expect(raised { Timeout.timeout(5) { output.read(1) } }).to be_nil.or be_a(Errno::ECONNRESET)
          # A pipe is no socket, so its stream ends at once.
          reader, writer = pipe
          expect(raised { ring.recv_each(reader) { nil } }).to be_a(Errno::ENOTSOCK)
          reader.close
          expect(raised { writer.write("x") }).to be_a(Errno::EPIPE)
        end
      end
    end
  end
end
