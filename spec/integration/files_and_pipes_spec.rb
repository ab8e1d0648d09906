# frozen_string_literal: true

RSpec.describe "Files and pipes" do
  size = 3_000_000

  each_backend do |_backend|
    it "arrive whole when several fibers read in turns" do
      data = pattern(size)
      order = []
      scheduled do
        path = file_with(data)
        3.times do |index|
          Fiber.schedule do
            File.open(path) do |file|
              collected = +""
              while (chunk = file.read(200_000))
                collected << chunk
                order << index
              end
              order << (collected == data)
            end
          end
        end
      end
      expect(order.count(true)).to eq(3)
      turns = order - [true]
      expect(turns.chunk_while { |one, next_one| one == next_one }.count).to be > 3
    end

    it "stay whole when several fibers write and read them back" do
      contents = Array.new(5) { |index| pattern(300_000, index) }
      read_back = nil
      scheduled do
        paths = contents.map { free_path }
        done = 0
        paths.zip(contents) { |path, content| Fiber.schedule { File.binwrite(path, content) && (done += 1) } }
        eventually { done == 5 }
        read_back = paths.map { |path| File.binread(path) }
      end
      expect(read_back == contents).to be(true)
    end

    it "keep lines and appended pieces whole" do
      lines = nil
      scheduled do
        path = free_path
        20.times do |index|
          Fiber.schedule { File.open(path, "a") { |file| 10.times { |line| file.write("#{index}:#{line}\n") } } }
        end
        eventually { File.exist?(path) && File.read(path).lines.size == 200 }
        lines = File.readlines(path, chomp: true)
      end
      expect(lines.sort).to eq(20.times.flat_map { |index| Array.new(10) { |line| "#{index}:#{line}" } }.sort)
    end

    it "carry a file through a chain of pipes between fibers, with more data than the pipes hold" do
      data = pattern(size)
      received = nil
      scheduled do
        stages = Array.new(4) { pipe }
        Fiber.schedule do
          stages.first.last.write(data)
          stages.first.last.close
        end
        stages.each_cons(2) do |(reader, _), (_, writer)|
          Fiber.schedule do
            while (chunk = reader.read(50_000))
              writer.write(chunk)
            end
            writer.close
          end
        end
        received = stages.last.first.read
      end
      expect(received.b == data.b).to be(true)
    end

    it "connect fibers with threads that block on the other end" do
      echoed = nil
      scheduled do
        to_thread, from_fiber = pipe
        to_fiber, from_thread = pipe
        thread = Thread.new do
          IO.copy_stream(to_thread, from_thread)
          from_thread.close
        end
        Fiber.schedule do
          from_fiber.write("x" * 500_000)
          from_fiber.close
        end
        echoed = to_fiber.read
        thread.join
      end
      expect(echoed).to eq("x" * 500_000)
    end
  end
end
