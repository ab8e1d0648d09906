# frozen_string_literal: true

# Ruby 4.1 calls the buffered hooks with (io, buffer, offset, length). The hook makes one transfer, and Ruby does the
# waiting. Each Ruby version uses one of the two contracts; these examples call the newer one on every version.
RSpec.describe UringIO::Scheduler, "under the contract of Ruby 4.1" do
  let(:again) { -Errno::EAGAIN::Errno }

  # Calls a hook as Ruby 4.1 does. Hooks that the running Ruby calls by itself keep its own contract.
  def newly(scheduler, hook, *)
    scheduler.send(:contract=, :offset_length)
    scheduler.public_send(hook, *)
  ensure
    scheduler.send(:contract=, Contract::OWN)
  end

  each_backend do |_backend|
    # Under the wrong contract the buffer would seem to have no room, and the file to be at its end.
    it "is in force where IO::Buffer::VERSION is 3 or more, and only there" do
      path = file_with("content")
      scheduled do |scheduler|
        expect(File.read(path)).to eq("content")
        right = %i[length_offset offset_length].select do |contract|
          scheduler.send(:contract=, contract)
          File.read(path) == "content"
        end
        expect(right).to eq([Contract::OWN])
      end
    end

    it "reads at most the length, at the offset, in one transfer" do
      buffer = IO::Buffer.new(8)
      count = scheduled do |scheduler|
        reader, writer = pipe
        writer.syswrite("abcdef")
        newly(scheduler, :io_read, reader, buffer, 2, 3)
      end
      expect([count, buffer.get_string]).to eq([3, "\0\0abc\0\0\0"])
    end

    it "answers -EAGAIN for a pipe without input, and does no IO for a length of 0" do
      results = scheduled do |scheduler|
        reader, = pipe
        [newly(scheduler, :io_read, reader, IO::Buffer.new(4), 0, 4),
         newly(scheduler, :io_read, reader, IO::Buffer.new(4), 0, 0)]
      end
      expect(results).to eq([again, 0])
    end

    it "raises ArgumentError for a range that is not inside the buffer" do
      results = scheduled do |scheduler|
        reader, = pipe
        ranges = [[5, 0], [2, 3], [0, 5]]
        ranges.map { |range| raised { newly(scheduler, :io_read, reader, IO::Buffer.new(4), *range) } }
      end
      expect(results).to all(be_an(ArgumentError))
    end

    it "writes at most the length, and a part of it when there is no room for all" do
      results = scheduled do |scheduler|
        reader, writer = pipe
        part = newly(scheduler, :io_write, writer, IO::Buffer.for("abcdef"), 1, 3)
        text = reader.read_nonblock(10)
        [part, text, newly(scheduler, :io_write, writer, IO::Buffer.for("x" * 1_000_000), 0, 1_000_000)]
      end
      expect(results[0, 2]).to eq([3, "bcd"])
      expect(results[2]).to be_between(1, 999_999)
    end

    it "reads a file from a position" do
      buffer = IO::Buffer.new(4)
      count = scheduled do |scheduler|
        newly(scheduler, :io_pread, closing(File.open(file_with("0123456789"))), buffer, 3, 1, 2)
      end
      expect([count, buffer.get_string]).to eq([2, "\x0034\x00"])
    end
  end
end
