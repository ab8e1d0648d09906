# frozen_string_literal: true

RSpec.describe "UringIO::Selector and the garbage collector" do
  each_selector do
    # Fibers in every kind of wait that only the selector references, and the writers that end the waits for IO. A
    # method of its own makes them, because the collector would find references on the stack of the example.
    def forgotten_fibers(selector, count, seen)
      Array.new(count) do |index|
        reader, writer = pipe
        item = Struct.new(:index, :seen) do
          def alive? = true
          def transfer = seen << [:item, index]
        end.new(index, seen)
        Fiber.new { seen << [:waiter, index] if wait_for(selector, reader, IO::READABLE) }.transfer
        Fiber.new { seen << [:yielder, index] unless selector.yield }.transfer
        selector.push(Fiber.new { seen << [:pushed, index] })
        selector.push(item)
        writer
      end
    end

    def expected_of(count)
      %i[waiter yielder pushed item].product((0...count).to_a)
    end

    it "keeps waiting fibers and pushed entries alive" do
      selecting do |selector, _|
        seen = []
        writers = forgotten_fibers(selector, 20, seen)
        3.times { GC.start }
        writers.each { |writer| writer.write("x") }
        run_until(selector) { seen.size == 80 }
        expect(seen).to match_array(expected_of(20))
      end
    end

    it "survives compaction with fibers in every kind of wait" do
      selecting do |selector, _|
        skip "this Ruby cannot compact" unless GC.respond_to?(:verify_compaction_references)

        seen = []
        writers = forgotten_fibers(selector, 20, seen)
        GC.verify_compaction_references(expand_heap: true, toward: :empty)
        selector.select(0)
        GC.verify_compaction_references(expand_heap: true, toward: :empty)
        writers.each { |writer| writer.write("x") }
        run_until(selector) { seen.size == 80 }
        expect(seen).to match_array(expected_of(20))
        expect(selector.loop).to be(Fiber.current)
      end
    end

    it "works while the collector runs at every allocation" do
      result = program(<<~'RUBY')
        require "socket"
        selector = SELECTOR.new(Fiber.current)
        pipes = Array.new(3) { IO.pipe }
        socket, peer = UNIXSocket.pair
        seen = []
        GC.stress = true
        pipes.first(2).each do |reader, _|
          Fiber.new { seen << selector.io_wait(Fiber.current, reader, IO::READABLE) }.transfer
          Fiber.new { seen << selector.yield.inspect }.transfer
          selector.push(Fiber.new { seen << :pushed })
        end
        Fiber.new do
          buffer = IO::Buffer.new(4)
          selector.io_wait(Fiber.current, socket, IO::READABLE)
          selector.io_read(Fiber.current, socket, buffer, *(OFFSET_FIRST ? [0, 4] : [4, 0]))
          seen << buffer.get_string
        end.transfer
        target = Fiber.new do
          selector.io_wait(Fiber.current, pipes[2][0], IO::READABLE)
        rescue IndexError => error
          seen << error.message
        end
        target.transfer
        selector.select(0)
        selector.raise(target, IndexError, "raised")
        pipes.each { |_, writer| writer.syswrite("x") }
        peer.syswrite("abcd")
        selector.select(nil) until seen.size == 8
        GC.stress = false
        puts seen.map(&:to_s).sort.join(" ")
        selector.close
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("1 1 abcd nil nil pushed pushed raised\n")
    end

    it "does not keep fibers alive whose wait is over" do
      selecting do |selector, _|
        alive = ObjectSpace::WeakMap.new
        reader, writer = pipe
        writer.write("x")
        200.times do
          fiber = Fiber.new { wait_for(selector, reader, IO::READABLE) && selector.yield }
          alive[fiber] = true
          fiber.transfer
        end
        run_what_can(selector)
        5.times { GC.start }
        expect(alive.size).to be < 100
      end
    end

    it "closes the descriptors of selectors that a program drops without closing them" do
      result = program(<<~'RUBY')
        def descriptors = Dir.children("/proc/self/fd").size
        def drop(count) = count.times { SELECTOR.new(Fiber.current).select(0) }
        GC.disable
        before = descriptors
        drop(40)
        open = descriptors - before
        GC.enable
        3.times { GC.start }
        left = descriptors - before
        puts left < open / 2
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("true\n")
    end

    it "collects selectors together with the fibers that wait in them, in any order" do
      result = program(<<~'RUBY')
        require "socket"
        def drop(sockets)
          selector = SELECTOR.new(Fiber.current)
          5.times do
            Fiber.new { selector.io_wait(Fiber.current, sockets[0], IO::READABLE) rescue IOError }.transfer
            Fiber.new { selector.io_wait(Fiber.current, sockets[0], IO::WRITABLE) rescue IOError }.transfer
            Fiber.new { selector.yield }.transfer
          end
          Fiber.new { selector.io_read(Fiber.current, sockets[1], IO::Buffer.new(64), 64, 0) rescue IOError }.transfer
          pid = spawn("exit 0")
          Fiber.new { selector.process_wait(Fiber.current, pid, 0) }.transfer
          2.times { selector.select(0) }
          Process.wait(pid) rescue nil
        end
        20.times do
          sockets = UNIXSocket.pair
          drop(sockets)
          GC.start
          sockets[0].syswrite("too late")
          sockets.each(&:close)
        end
        GC.start
        selector = SELECTOR.new(Fiber.current)
        reader, writer = IO.pipe
        result = nil
        Fiber.new { result = selector.io_wait(Fiber.current, reader, IO::READABLE) }.transfer
        writer.write("x")
        selector.select(nil) until result
        puts result
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("1\n")
      expect(result.status).to be_success
    end

    it "lets a thread end while its fibers wait, and lets the program close their IOs later" do
      result = program(<<~'RUBY')
        require "socket"
        sockets = Array.new(20) { UNIXSocket.pair }
        sockets.each do |pair|
          Thread.new do
            selector = SELECTOR.new(Fiber.current)
            Fiber.new { selector.io_wait(Fiber.current, pair[0], IO::READABLE) }.transfer
            Fiber.new { selector.io_read(Fiber.current, pair[1], IO::Buffer.new(64), 64, 0) }.transfer
            selector.select(0)
          end.join
        end
        3.times { GC.start }
        sockets.each { |pair| pair.each(&:close) }
        3.times { GC.start }
        puts "ends"
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("ends\n")
      expect(result.status).to be_success
    end

    it "lets fibers go on whose selector was closed while they waited" do
      result = program(<<~'RUBY')
        selector = SELECTOR.new(Fiber.current)
        reader, writer = IO.pipe
        ended = []
        fibers = Array.new(3) do
          Fiber.new do
            ended << selector.io_wait(Fiber.current, reader, IO::READABLE)
          rescue StandardError => error
            ended << error.class
          end.tap(&:transfer)
        end
        selector.select(0)
        selector.close
        writer.write("x")
        fibers[0].transfer if fibers[0].alive?
        fibers[1].raise(IndexError) if fibers[1].alive?
        fibers = nil
        3.times { GC.start }
        puts ended.size >= 2
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("true\n")
    end
  end
end
