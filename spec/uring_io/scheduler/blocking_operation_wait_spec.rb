# frozen_string_literal: true

require "io/nonblock"

RSpec.describe UringIO::Scheduler, "#blocking_operation_wait" do
  each_backend do |backend|
    it "calls the work once, in another thread, while other fibers run" do
      order = []
      threads = []
      scheduled(workers: 4) do |scheduler|
        gate = Thread::Queue.new
        Fiber.schedule do
          scheduler.blocking_operation_wait(lambda do
            threads << Thread.current
            order << gate.pop
          end)
          order << :returned
        end
        order << :other
        gate << :work
        eventually { order.size == 3 }
        threads << Thread.current
      end
      expect(order).to eq(%i[other work returned])
      expect(threads.uniq.size).to eq(2)
    end

    it "raises what the work raises" do
      expect do
        scheduled(workers: 1) { |scheduler| scheduler.blocking_operation_wait(-> { raise KeyError, "in the work" }) }
      end.to raise_error(KeyError, "in the work")
    end

    it "returns only when the work has ended, even if another fiber raises into the fiber" do
      order = []
      scheduled(workers: 4) do |scheduler|
        gate = Thread::Queue.new
        fiber = Fiber.schedule do
          scheduler.blocking_operation_wait(lambda do
            gate.pop
            order << :work
          end)
        rescue IndexError
          order << :raised
        end
        fiber.raise(IndexError)
        order << :goes_on
        gate << true
        eventually { order.size == 3 }
      end
      expect(order).to eq(%i[goes_on work raised])
    end

    it "uses at most as many threads as there are workers, and ends them with the scheduler" do
      before = Thread.list
      running = most = 0
      lock = Mutex.new
      scheduled(workers: 2) do |scheduler|
        fibers = Array.new(10) do
          Fiber.schedule do
            scheduler.blocking_operation_wait(lambda do
              lock.synchronize { most = [most, running += 1].max }
              Thread.pass
              lock.synchronize { running -= 1 }
            end)
          end
        end
        eventually { fibers.none?(&:alive?) }
      end
      expect(most).to be_between(1, 2)
      expect((Thread.list - before).map { |thread| thread.join(10) }).to all(be_a(Thread))
    end

    it "exists only on schedulers made with workers" do
      expect(scheduled { |scheduler| scheduler.respond_to?(:blocking_operation_wait) }).to be(false)
      expect(scheduled(workers: 1) { |scheduler| scheduler.respond_to?(:blocking_operation_wait) }).to be(true)
    end

    it "refuses invalid numbers of workers" do
      [0, -1, 1025].each do |workers|
        expect { UringIO::Scheduler.new(backend:, workers:) }.to raise_error(ArgumentError, /workers/)
      end
      expect { UringIO::Scheduler.new(backend:, workers: "2") }.to raise_error(TypeError)
    end

    it "ends waiting work when a Timeout fires, from Ruby 4.0 on" do
      skip "Ruby #{RUBY_VERSION} has no way to cancel it" if RUBY_VERSION < "4.0"
      Dir.mktmpdir do |folder|
        File.mkfifo(fifo = File.join(folder, "fifo"))
        opened = scheduled(workers: 1) { raised { Timeout.timeout(0.01) { File.open(fifo) } } }
        expect(opened).to be_a(Timeout::Error)
      end
    end

    it "leaves no thread that Ruby still signals after it has ended work" do
      skip "Ruby #{RUBY_VERSION} has no way to cancel it" if RUBY_VERSION < "4.0"
      result = child(<<~RUBY, backend)
        require "timeout"
        require "tmpdir"
        Dir.mktmpdir do |folder|
          File.mkfifo(fifo = File.join(folder, "fifo"))
          300.times do
            UringIO.run(backend: ARGV[0].to_sym, workers: 1) do
              Timeout.timeout(0.0005) { File.open(fifo) }
            rescue Timeout::Error
              # that is how it ends
            end
          end
          puts "all of them ended"
        end
      RUBY
      expect(result.status).to be_success, result.stderr.lines.first(3).join
      expect(result.stdout).to eq("all of them ended\n")
    end

    describe "while more copies wait for input than there are workers" do
      # Starts three copies from pipes, with or without O_NONBLOCK, and returns their results.
      def copying(nonblock)
        sink = closing(File.open(File::NULL, "w"))
        pipes = Array.new(3) { pipe.each { |io| io.nonblock = nonblock } }
        counts = []
        pipes.each { |reader, _| Fiber.schedule { counts << IO.copy_stream(reader, sink) } }
        sleep(0.01)
        yield pipes.map(&:last)
        eventually { counts.size == 3 }
        counts
      end

      [true, false].each do |nonblock|
        pipes = nonblock ? "pipes" : "pipes that block"
        # Before Ruby 3.4 there are no blocking operations, and such a copy blocks the thread, as it does in plain Ruby.
        next if RUBY_VERSION < "3.4" && !nonblock

        it "ends the copies from #{pipes} when their writers close" do
          counts = scheduled(workers: 2) { copying(nonblock) { |writers| writers.each(&:close) } }
          expect(counts).to eq([0, 0, 0])
        end

        it "opens, reads, writes and closes other IOs during copies from #{pipes}" do
          path = file_with("content")
          seen = []
          scheduled(workers: 1) do
            copying(nonblock) do |writers|
              seen << File.read(path) << File.write(free_path, "new") << File.stat(path).size
              unix_pair.each(&:close)
              seen << IO.popen(%w[echo child], &:read)
              writers.each(&:close)
            end
          end
          expect(seen).to eq(["content", 3, 7, "child\n"])
        end
      end
    end

    it "copies from socket to socket in a worker thread, which waits there" do
      copied = scheduled(workers: 2) do
        source, input = unix_pair
        output, sink = unix_pair
        Fiber.schedule do
          IO.copy_stream(source, sink)
          sink.close
        end
        input.write("one ")
        first = output.readpartial(10)
        input.write("two")
        input.close
        [first, output.read]
      end
      expect(copied).to eq(["one ", "two"])
    end
  end
end
