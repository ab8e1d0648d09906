# frozen_string_literal: true

# Ractors run at the same time. Each has its own GVL, and makes its own schedulers and rings. Each example runs in a
# process of its own, because the first Ractor changes how Ruby works until the process ends.
RSpec.describe UringIO, "in Ractors" do
  # In these Rubies, Ractors that make fibers at the same time crash, with or without a scheduler.
  if RUBY_VERSION < "4.0"
    several = "Ruby below 4.0 has no lock for the stacks of its fibers (ruby/ruby, pull request 13466)"
    forking = "Ruby below 4.0 hangs or crashes in what it forks beside a Ractor (ruby/ruby, pull request 12982)"
  end

  # The values of `count` Ractors. Each runs the source with the backend's name and its own number.
  def ractors(backend, count, source, after: "")
    child(<<~RUBY, backend, limit: 60)
      require "timeout"
      Warning[:experimental] = false # Ractor is experimental
      ractors = Array.new(#{count}) do |number|
        Ractor.new(ARGV[0].to_sym, number) do |backend, number|
          #{source}
        end
      end
      #{after}
      ractors.each { |ractor| p ractor.respond_to?(:value) ? ractor.value : ractor.take }
    RUBY
  end

  def expect_values(result, *values)
    expect(result.stderr).to eq("")
    expect(result.stdout.lines(chomp: true)).to eq(values.map(&:inspect))
    expect(result.status).to be_success
  end

  # The usual work of a scheduler, 20 times at once.
  work = <<~RUBY
    done = Thread::Queue.new
    20.times do |count|
      Fiber.schedule do
        input, output = IO.pipe
        Fiber.schedule { sleep(0.001) && output.puts(count) && output.close }
        found << input.gets.to_i
        server = TCPServer.new("127.0.0.1", 0)
        Fiber.schedule { server.accept.then { |it| it.write(it.readpartial(9).upcase) && it.close } }
        client = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
        client.write("abc")
        found << client.read
        found << (Timeout.timeout(0.001) { sleep } rescue $!.class)
        found << File.read(File::NULL)
        [input, server, client].each(&:close)
        done << true
      end
    end
    20.times { done.pop }
  RUBY

  each_backend do |backend|
    scheduler = <<~RUBY
      found = []
      UringIO.run(backend:) do |scheduler|
        #{work}
        thread = Thread.new { done << :thread }
        found << done.pop << Process.wait2(spawn("true")).last.exitstatus << scheduler.backend
        thread.join
      end
      found.tally.values_at("ABC", Timeout::Error, "", :thread, backend, *1..19).tally
    RUBY

    it "runs sockets, files, sleeps, timeouts and queues" do
      expect_values(ractors(backend, 1, scheduler), { 20 => 3, 1 => 21 })
    end

    it "runs all of that in several Ractors at once, each on a scheduler of its own", skip: several do
      expect_values(ractors(backend, 3, scheduler), *([{ 20 => 3, 1 => 21 }] * 3))
    end

    it "raises a fiber's exception in its own Ractor, and the others go on", skip: several do
      result = ractors(backend, 2, <<~RUBY)
        begin
          UringIO.run(backend:) do
            Fiber.schedule { sleep 0.01 }
            raise "of \#{number}" if number.zero?
            sleep 0.02
          end
        rescue RuntimeError => error
          error.message
        end
      RUBY
      expect_values(result, "of 0", 0)
    end

    it "makes calls on rings, and waits with selectors", needs: :direct_descriptors do
      result = ractors(backend, several ? 1 : 2, <<~'RUBY')
        ring = UringIO::Ring.new(backend:)
        status = ring.stat("/")
        found = [status.directory?, status.uid, status.mtime.class, ring.batch { |calls| 3.times { calls.nop } }]
        found << ring.chain { |steps| steps.read(steps.open("/dev/zero"), 2) }.last
        own = IO::Buffer.new(4)
        found << File.open(File::NULL, "w") { |null| ring.write(null, own) }
        own.resize(8) # it is no longer locked
        ring.close
        selector = UringIO::Selector.new(Fiber.current, backend:)
        input, output = IO.pipe
        Fiber.new { found << selector.io_wait(Fiber.current, input, IO::READABLE) }.transfer
        output.write("x")
        selector.select(nil)
        selector.close
        UringIO::Selector::Poll.new(Fiber.current).close
        [*found, own.size, UringIO.support.available?(backend)]
      RUBY
      expect_values(result, *([[true, 0, Time, [nil] * 3, "\0\0".b, 4, 1, 8, true]] * (several ? 1 : 2)))
    end

    it "works while the garbage collector runs at every allocation and compacts", skip: several do
      result = ractors(backend, 2, <<~RUBY, after: <<~AFTER)
        found = []
        UringIO.run(backend:) do
          3.times do |count|
            Fiber.schedule do
              input, output = IO.pipe
              Fiber.schedule { sleep(0.001) && output.puts(count) && output.close }
              found << input.gets.to_i
              Timeout.timeout(0.001) { sleep }
            rescue Timeout::Error => error
              found << error.class
            end
          end
        end
        ring = UringIO::Ring.new(backend:)
        found.tally.values_at(0, 1, 2, Timeout::Error) << ring.batch { |calls| 3.times { calls.stat("/") } }.size
      RUBY
        GC.stress = true
        sleep 0.1
        GC.stress = false
        10.times { GC.compact }
      AFTER
      expect_values(result, *([[1, 1, 1, 3, 3]] * 2))
    end

    it "closes an open scheduler when its Ractor ends" do
      result = child(<<~'RUBY', backend)
        Warning[:experimental] = false
        value = ->(ractor) { ractor.respond_to?(:value) ? ractor.value : ractor.take }
        input, output = IO.pipe
        run = lambda do
          value[Ractor.new(ARGV[0].to_sym, output.fileno) do |backend, fd|
            Fiber.set_scheduler(UringIO::Scheduler.new(backend:))
            UringIO::Ring.new(backend:).nop
            Fiber.schedule { sleep(0.001) && IO.for_fd(fd, autoclose: false).syswrite("x") }
            nil
          end]
          input.readpartial(1)
        end
        run.call
        count = lambda do
          GC.start
          Dir.children("/proc/self/fd").size
        end
        before = count.call
        5.times { run.call }
        10.times { count.call - before < 5 || sleep(0.1) }
        # A Ractor may still be on the stack, with its objects not collected yet.
        puts count.call - before < 5
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("true\n")
    end

    it "lets the main Ractor fork while another Ractor has a scheduler", skip: forking do
      result = ractors(backend, 1, <<~RUBY, after: <<~AFTER)
        UringIO.run(backend:) do
          200.times { sleep 0.001 }
        end
        :parent
      RUBY
        10.times do
          child = fork do
            UringIO.run(backend: ARGV[0].to_sym) do
              input, output = IO.pipe
              Fiber.schedule { output.write("child") && output.close }
              exit!(input.read == "child")
            end
          end
          raise "failed" unless Process.wait2(child).last.success?
        end
      AFTER
      expect_values(result, :parent)
    end
  end

  each_backend(only: %i[io_uring]) do |backend|
    # The kernel knows only native threads, and a ring may be bound to one of them.
    it "keeps its ring working when Ruby moves its thread to another native thread" do
      result = ractors(backend, 1, <<~RUBY)
        ended = false
        others = Array.new(3) { Thread.new { Thread.pass until ended } }
        ring = UringIO::Ring.new
        seen = UringIO.run(backend:) do
          Array.new(50) do
            input, output = IO.pipe
            Fiber.schedule { sleep(0.001) && output.write("x") && output.close }
            input.read
          end
        end
        Thread.new { sleep 0.001 }.join
        ring.poll($stdout, IO::WRITABLE)
        ended = true
        others.each(&:join)
        seen.tally
      RUBY
      expect_values(result, { "x" => 50 })
    end
  end

  it "refuses to copy, move or share its objects" do
    result = child(<<~'RUBY')
      Warning[:experimental] = false
      sink = Ractor.new { loop { Ractor.receive } }
      ways = [:dup.to_proc, :clone.to_proc, ->(it) { sink.send(it) }, ->(it) { sink.send(it, move: true) },
              Ractor.method(:make_shareable)]
      ring = UringIO::Ring.new
      objects = [ring, UringIO::Scheduler.new, UringIO::Selector.new(Fiber.current), UringIO::Ring::Batch.new]
      objects.each do |object|
        refused = ways.map do |way|
          way.call(object)
        rescue TypeError, Ractor::Error => error
          error.message[/\A(a \S+ cannot be copied or sent to another Ractor|can not \w+)/]
        end
        p refused
      end
      ring.nop
      objects.first(3).each(&:close)
    RUBY
    expect(result.stderr).to eq("")
    copied = %w[Ring Scheduler Selector Ring::Batch].map do |name|
      "a UringIO::#{name} cannot be copied or sent to another Ractor"
    end
    expect(result.stdout.lines(chomp: true))
      .to eq(copied.map { |it| [it, it, it, "can not move", "can not make"].inspect })
  end

  it "has no constant that is for the main Ractor only" do
    result = child(<<~'RUBY')
      Warning[:experimental] = false
      modules = [UringIO]
      modules.each do |it|
        inner = it.constants(false).map { |name| it.const_get(name) }.grep(Module)
        modules.concat(inner.select { |found| found.name&.start_with?("UringIO::") } - modules)
      end
      names = %i[KINDS NAMES TIMES CODES MODES PIECE SHUTDOWN_GRACE KILLS_MAX Messages Call Memory] # private ones
      modules.each do |it|
        (it.constants(false) | names).each do |name|
          found = it.class_eval { const_get(name, false) } if it.const_defined?(name, false)
          puts "#{it}::#{name}" unless Ractor.shareable?(found)
        end
      end
      puts modules.size > 20
    RUBY
    expect(result.stderr).to eq("")
    expect(result.stdout).to eq("true\n")
  end
end
