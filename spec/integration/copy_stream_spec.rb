# frozen_string_literal: true

require "stringio"

RSpec.describe "IO.copy_stream under the scheduler" do
  # More bytes than a pipe, a socket or Ruby's own buffers hold.
  let(:data) { pattern(1_500_000) }

  each_backend do |_backend|
    # The bytes that the reader gets from the block's copy, and the block's value. Closes the writer at the end.
    def received_by(reader, writer)
      copied = nil
      Fiber.schedule do
        copied = yield
        writer.close
      end
      [reader.read.b, copied]
    end

    it "copies a file to a socket whose other end reads at the same time" do
      scheduled do
        here, there = unix_pair
        file = closing(File.open(file_with(data), "rb"))
        received, copied = received_by(there, here) { IO.copy_stream(file, here) }
        expect(copied).to eq(data.bytesize)
        expect(received == data).to be(true)
      end
    end

    it "copies a file, given by its path, to a TCP socket: a part of it by length and offset" do
      scheduled do
        here, there = tcp_pair
        received, copied = received_by(there, here) { IO.copy_stream(file_with(data), here, 1_000_000, 333) }
        expect(copied).to eq(1_000_000)
        expect(received == data[333, 1_000_000]).to be(true)
      end
    end

    it "copies a socket to a file while its other end writes" do
      scheduled do
        here, there = tcp_pair
        path = free_path
        Fiber.schedule do
          there.write(data)
          there.close
        end
        expect(IO.copy_stream(here, path)).to eq(data.bytesize)
        expect(File.binread(path) == data).to be(true)
      end
    end

    it "copies pipe to pipe, with a writer before and a reader after it" do
      scheduled do
        source, writer = pipe
        reader, sink = pipe
        Fiber.schedule do
          writer.write(data)
          writer.close
        end
        received, copied = received_by(reader, sink) { IO.copy_stream(source, sink) }
        expect(copied).to eq(data.bytesize)
        expect(received == data).to be(true)
      end
    end

    it "copies a length from a pipe, leaves the rest, and returns as soon as that length has come" do
      scheduled do
        source, writer = pipe
        reader, sink = pipe
        writer.write("0123456789")
        expect(IO.copy_stream(source, sink, 4)).to eq(4)
        expect(reader.readpartial(100)).to eq("0123")
        expect(source.readpartial(100)).to eq("456789")
      end
    end

    it "copies a socket to a StringIO and a StringIO to a socket" do
      scheduled do
        here, there = unix_pair
        Fiber.schedule do
          IO.copy_stream(StringIO.new(data), here)
          here.close_write
        end
        taken = StringIO.new(+"".b)
        expect(IO.copy_stream(there, taken)).to eq(data.bytesize)
        expect(taken.string == data).to be(true)
      end
    end

    it "copies from an object that has only readpartial, and to one that has only write" do
      scheduled do
        source, writer = pipe
        reader, sink = pipe
        from = Object.new
        from.define_singleton_method(:readpartial) { |*arguments| source.readpartial(*arguments) }
        to = Object.new
        to.define_singleton_method(:write) { |text| sink.write(text) }
        Fiber.schedule do
          writer.write(data)
          writer.close
        end
        received, copied = received_by(reader, sink) { IO.copy_stream(from, to) }
        expect(copied).to eq(data.bytesize)
        expect(received == data).to be(true)
      end
    end

    it "copies the bytes in Ruby's buffer before those in the pipe" do
      scheduled do
        source, writer = pipe
        writer.write("first line\nrest of the buffer\n")
        source.gets
        Fiber.schedule do
          writer.write("and more")
          writer.close
        end
        taken = StringIO.new
        IO.copy_stream(source, taken)
        expect(taken.string).to eq("rest of the buffer\nand more")
      end
    end

    it "carries a message through a chain of 20 copies that run at the same time" do
      scheduled do
        pairs = Array.new(21) { pipe }
        20.times do |index|
          Fiber.schedule do
            IO.copy_stream(pairs[index].first, pairs[index + 1].last)
            pairs[index + 1].last.close
          end
        end
        pairs.first.last.write("message")
        expect(pairs.last.first.readpartial(100)).to eq("message") # before any of the copies has ended
        pairs.first.last.write(", end")
        pairs.first.last.close
        expect(pairs.last.first.read).to eq(", end")
      end
    end

    it "holds back only its own copy when a reader is slow" do
      order = []
      scheduled do
        slow_reader, slow_sink = pipe
        fast_reader, fast_sink = pipe
        path = file_with(data)
        [[:slow, slow_sink], [:fast, fast_sink]].each do |name, sink|
          Fiber.schedule do
            IO.copy_stream(path, sink)
            order << name
            sink.close
          end
        end
        expect(fast_reader.read.b == data).to be(true)
        eventually { order == [:fast] }
        order << :slow_one_is_read
        expect(slow_reader.read.b == data).to be(true)
      end
      expect(order).to eq(%i[fast slow_one_is_read slow])
    end

    it "ends by Timeout while the source is silent, and by Errno::EPIPE when the sink's reader has closed" do
      scheduled do
        source, writer = pipe
        reader, sink = pipe
        start = monotonic
        expect { Timeout.timeout(0.02) { IO.copy_stream(source, sink) } }.to raise_error(Timeout::Error)
        expect(monotonic - start).to be >= 0.02
        reader.close
        writer.write("x")
        expect { IO.copy_stream(source, sink, 1) }.to raise_error(Errno::EPIPE)
      end
    end
  end
end
