# frozen_string_literal: true

RSpec.describe "Files larger than any buffer, under the scheduler" do
  size = 8 << 20

  before(:context) { @data = pattern(size) }

  let(:data) { @data }

  each_backend do |_backend|
    # Whether both are equal. A failure does not print megabytes.
    def same(found, expected = data)
      found.bytesize == expected.bytesize && found == expected
    end

    # Runs the block in this many fibers. Yields a barrier, which no fiber passes before all have called it.
    def together(count)
      reached = finished = 0
      barrier = lambda do
        round = (reached / count) + 1
        reached += 1
        eventually { reached >= round * count }
      end
      count.times do |index|
        Fiber.schedule do
          yield index, barrier
          finished += 1
        end
      end
      eventually { finished == count }
    end

    it "are written and read back whole, by path and by File.open" do
      scheduled do
        path = free_path
        expect(File.binwrite(path, data)).to eq(size)
        expect(same(File.binread(path))).to be(true)
        other = free_path
        expect(File.binwrite(other, data)).to eq(size)
        expect(same(File.binread(other))).to be(true)
        expect(same(File.binread(other))).to be(true)
      end
    end

    it "are read in pieces of many sizes, also into a given buffer" do
      scheduled do
        file = closing(File.open(file_with(data), "rb"))
        taken = +"".b
        sizes = [1, 8191, 8192, 8193, 65_536, 1_000_001].cycle
        while (piece = file.read(sizes.next))
          taken << piece
        end
        expect(same(taken)).to be(true)
        file.rewind
        buffer = +"".b
        taken = +"".b
        taken << buffer while file.read(777_777, buffer)
        expect(same(taken)).to be(true)
      end
    end

    it "are read at any position by pread and sysread, and pread does not move the file's position" do
      scheduled do
        file = closing(File.open(file_with(data), "rb"))
        [0, 1, 4095, (3 << 20) + 7, size - 10].each do |from|
          length = [5 << 20, size - from].min
          expect(same(file.pread(length, from), data[from, length])).to be(true)
        end
        expect(file.pread(100, size - 10)).to eq(data[-10..])
        expect { file.pread(1, size) }.to raise_error(EOFError)
        expect(file.pos).to eq(0)
        file.sysseek(size - 5)
        expect(file.sysread(100)).to eq(data[-5..])
        expect { file.sysread(1) }.to raise_error(EOFError)
      end
    end

    it "are written at any position by pwrite, from five fibers at once" do
      scheduled do
        path = free_path
        file = closing(File.open(path, "w+b"))
        starts = 5.times.map { |index| index * size / 5 } << size
        together(5) do |index, barrier|
          from = starts[index]
          barrier.call
          expect(file.pwrite(data[from...starts[index + 1]], from)).to eq(starts[index + 1] - from)
          barrier.call
          expect(same(file.pread(size, 0))).to be(true) # the other fibers' parts as well
        end
        expect(same(File.binread(path))).to be(true)
      end
    end

    it "grow when fibers append lines, and no line is torn" do
      path = free_path
      scheduled do
        together(4) do |index, barrier|
          File.open(path, "ab") do |file|
            file.sync = true
            line = "#{index.to_s * 99_999}\n"
            20.times do
              barrier.call
              file.write(line)
            end
          end
        end
      end
      lines = File.readlines(path)
      expect(lines.map(&:size)).to all(eq(100_000))
      expect(lines.map { |line| line.chomp.squeeze }.tally).to eq("0" => 20, "1" => 20, "2" => 20, "3" => 20)
      rounds = lines.map { |line| line[0] }.each_slice(4).map(&:sort)
      expect(rounds).to eq([%w[0 1 2 3]] * 20) # the four fibers went on together
    end

    it "give whole lines, even long ones, to gets and each_line in several fibers in step" do
      lines = Array.new(40) { |index| "#{index} #{'x' * (index.even? ? 10 : 400_000)}\n" }
      path = file_with(lines.join)
      scheduled do
        together(3) do |_index, barrier|
          File.open(path) do |file|
            taken = []
            while (line = file.gets)
              taken << line
              barrier.call if taken.size % 10 == 0
            end
            expect(taken == lines).to be(true)
          end
          expect(File.foreach(path).to_a == lines).to be(true)
        end
      end
    end

    it "are copied by eight fibers in turns, each with its own bytes" do
      pieces = size / 8
      scheduled do
        together(8) do |index, barrier|
          own = data[index * pieces, pieces]
          path = free_path
          File.open(path, "w+b") do |file|
            4.times do |quarter|
              file.write(own[quarter * pieces / 4, pieces / 4])
              barrier.call
            end
            file.rewind
            taken = +"".b
            4.times do
              taken << file.read(pieces / 4)
              barrier.call
            end
            expect(same(taken, own)).to be(true)
          end
          expect(same(File.binread(path), own)).to be(true)
        end
      end
    end

    it "let other fibers run while read, pread or File.binread reads 8 MiB" do
      path = file_with(data)
      file = closing(File.open(path, "rb"))
      reads = { read: -> { file.read }, pread: -> { file.pread(size, 0) }, binread: -> { File.binread(path) } }
      reads.each do |name, read|
        order = []
        scheduled do
          Fiber.schedule do
            order << name
            order << same(read.call)
          end
          order << :others
        end
        expect(order).to eq([name, :others, true])
      end
    end

    it "are read by a fiber in steps of one line that another fiber allows over a pipe" do
      order = []
      scheduled do
        path = file_with(Array.new(4) { |line| "#{line}#{'y' * (2 << 20)}\n" }.join)
        reader, writer = pipe
        Fiber.schedule do
          File.open(path) do |file|
            while reader.gets
              line = file.gets
              order << [line[0], line.size]
            end
          end
        end
        4.times do |line|
          order << :allows
          writer.puts("go")
          eventually { order.size == 2 * (line + 1) }
        end
        writer.close
      end
      expect(order).to eq(4.times.flat_map { |line| [:allows, [line.to_s, (2 << 20) + 2]] })
    end

    it "beyond 4 GiB are read and written at the far end of a sparse file" do
      far = (5 << 30) + 3
      scheduled do
        file = closing(File.open(free_path, "w+b"))
        order = []
        Fiber.schedule { order << file.pwrite("far end", far) }
        eventually { order == [7] }
        expect(file.size).to eq(far + 7)
        expect(file.pread(10, far - 3)).to eq("\0\0\0far end")
        file.seek(far)
        expect(file.read).to eq("far end")
        file.seek(-3, IO::SEEK_END)
        file.write("END")
        file.flush
        expect(file.pread(7, far)).to eq("far END")
      end
    end

    it "report a full disk as Errno::ENOSPC in write, flush and close" do
      skip "there is no /dev/full" unless File.exist?("/dev/full")
      scheduled do
        expect { File.binwrite("/dev/full", data) }.to raise_error(Errno::ENOSPC)
        expect { File.open("/dev/full", "wb") { |file| file.write("x") && file.flush } }.to raise_error(Errno::ENOSPC)
        file = File.open("/dev/full", "wb")
        file.write("x")
        expect { file.close }.to raise_error(Errno::ENOSPC)
      end
    end
  end
end
