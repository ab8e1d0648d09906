# frozen_string_literal: true

RSpec.describe "The garbage collector" do
  # Runs operations of every kind, and the block while they are in flight.
  def exercise
    results = []
    scheduled do
      input, output = unix_pair
      reader, writer = pipe
      watched, other_writer = pipe
      queue = Thread::Queue.new
      Fiber.schedule { results << input.gets }
      Fiber.schedule { results << reader.gets }
      Fiber.schedule { results << queue.pop }
      Fiber.schedule { results << IO.select([watched, reader], nil, nil, 5).class }
      Fiber.schedule { results << raised { Timeout.timeout(0.001) { sleep } }.class }
      Fiber.schedule { results << File.read(file_with("file")) }
      Fiber.schedule { results << Addrinfo.tcp("127.0.0.1", 1).ip_port }
      yield
      output.puts("socket")
      writer.puts("pipe")
      other_writer.puts("watched")
      queue << :queue
    end
    results
  end

  expected = ["socket\n", "pipe\n", :queue, Array, Timeout::Error, "file", 1]

  each_backend do |_backend|
    # Before Ruby 4.0 a process without room for another memory map gets FiberError.
    it "frees the stacks of ended fibers even when a large heap keeps Ruby from collecting", limit: 60 do
      result = child(<<~RUBY, backend, limit: 50)
        room = Array.new(1_500_000) { [Object.new, "x" * 30] }
        room = nil
        GC.start
        UringIO.run(backend: ARGV[0].to_sym) do
          40.times do
            1000.times { Fiber.schedule { sleep(0) } }
            sleep(0)
          end
        end
        puts File.foreach("/proc/self/maps").count
      RUBY
      expect(result.stdout.to_i).to be_between(1, 12_000)
    end

    # Runs in a program of its own: each collection goes through the whole heap.
    it "may run at every allocation", limit: 60 do
      result = child(<<~RUBY, backend, limit: 50)
        require "socket"
        require "timeout"
        results = []
        UringIO.run(backend: ARGV[0].to_sym) do
          input, output = UNIXSocket.pair
          reader, writer = IO.pipe
          watched, other_writer = IO.pipe
          queue = Thread::Queue.new
          GC.stress = true
          Fiber.schedule { results << input.gets }
          Fiber.schedule { results << reader.gets }
          Fiber.schedule { results << queue.pop }
          Fiber.schedule { results << IO.select([watched], nil, nil, 40).class }
          Fiber.schedule { Timeout.timeout(0.001) { sleep } rescue results << $!.class }
          Fiber.schedule { File.open("/proc/self/comm") { |file| results << file.pread(4, 0) } }
          Fiber.schedule { results << Addrinfo.tcp("127.0.0.1", 1).ip_port }
          output.puts("socket")
          writer.puts("pipe")
          other_writer.puts("watched")
          queue << :queue
          sleep(0.001) until results.size == 7
          GC.stress = false
        end
        puts results.map(&:inspect).sort.join(" ")
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq(%("pipe\\n" "ruby" "socket\\n" 1 :queue Array Timeout::Error\n))
    end

    it "may move objects while operations are in flight" do
      skip "this Ruby does not compact" unless GC.respond_to?(:compact)

      results = exercise { 2.times { GC.compact } }
      expect(results).to match_array(expected)
    end

    it "keeps fibers that only the scheduler references" do
      ended = 0
      scheduled do
        200.times { |index| Fiber.schedule { ended += 1 if sleep(0.005 + (index * 0.0001)) } }
        3.times { GC.start }
        GC.compact if GC.respond_to?(:compact)
      end
      expect(ended).to eq(200)
    end

    it "frees fibers that have ended, and schedulers that have closed" do
      count = -> { 3.times { GC.start } && ObjectSpace.each_object(Fiber).count }
      before = count.call
      5.times { scheduled { 100.times { Fiber.schedule { sleep(0) } } } }
      expect(count.call).to be < before + 100
    end
  end
end
