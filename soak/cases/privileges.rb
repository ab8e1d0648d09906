# frozen_string_literal: true

require "fileutils"
require "tempfile"
require_relative "../case"

# Open files belong to this process and this user alone. Schedulers, selectors and rings have all sorts of operations in
# flight. Meanwhile started programs look at the descriptors that they have got, forked children use the objects that
# they have inherited, and others go on as another user. Some schedulers and selectors are restricted: they do their own
# operations, and no others.

NOBODY = 65_534
SECRET = "for root's eyes only"

Case.run do
  $VERBOSE = nil # there may be too few CPUs for a polling thread
  polled = backend == :io_uring ? [{ sqpoll: true, sqpoll_idle: 0.01 }] : []
  # In few of the rounds: its thread takes time to end.
  options = -> { random.rand(10).zero? ? polled.sample || {} : {} }
  secret = Tempfile.create("privileges").tap { |file| file.write(SECRET) && file.close }
  File.chmod(0o600, secret.path)
  victim = "#{secret.path}.victim"

  # Runs the block in a child, with a list for what is wrong: it must end by itself and with an empty one.
  apart = lambda do |what, &block|
    reader, writer = IO.pipe
    pid = fork do
      reader.close
      wrong = []
      begin
        block.call(wrong)
      rescue Exception => error # rubocop:disable Lint/RescueException
        wrong << error.full_message(highlight: false)
      end
      writer.write(Marshal.dump(wrong))
    end
    writer.close
    told = reader.read
    reader.close
    _, status = Process.wait2(pid)
    next violation("#{what}: #{status.inspect}") unless status.success?

    Marshal.load(told).each { |text| violation("#{what}: #{text}") } # rubocop:disable Security/MarshalLoad
    done
  end

  # Calls that a restricted scheduler does not make, whatever else it does meanwhile.
  outside = { open: ->(ring) { ring.open(secret.path) }, unlink: ->(ring) { ring.unlink(victim) },
              batch: ->(ring) { ring.batch! { |b| b.unlink(victim) } }, socket: ->(ring) { ring.socket(:INET) },
              chain: ->(ring) { ring.chain { |c| c.unlink(victim) } },
              register: ->(ring) { ring.register(IO::Buffer.new(4096)) },
              accept: ->(ring) { ring.accept_each(TCPServer.new("127.0.0.1", 0), timeout: 0.01) { nil } } }
  try_outside = lambda do |wrong, ring|
    name, attempt = outside.to_a.sample(random:)
    attempt.call(ring)
    wrong << "a restricted scheduler made #{name}"
  rescue IO::TimeoutError
    wrong << "a restricted scheduler waited in #{name}"
  rescue UringIO::UnsupportedError
    wrong << "a restricted scheduler removed a file" unless File.exist?(victim)
    fault
  end

  # A scheduler, a selector and rings, all of them busy, for the block in one of the scheduler's fibers. Afterwards all
  # of it must still work.
  alive = lambda do |wrong, &block|
    ring = UringIO::Ring.new(backend:, **options.call)
    memory = ring.register(IO::Buffer.new(4096)) if backend == :io_uring
    restrict = random.rand(3).zero?
    selector = UringIO::Selector.new(Fiber.current, backend:, restrict:)
    readers, writers = Array.new(8) { UNIXSocket.pair }.transpose
    waiter = Fiber.new { selector.io_wait(Fiber.current, readers[0], IO::READABLE) }
    waiter.transfer
    UringIO.run(backend:, restrict:, **options.call) do |scheduler|
      streams = UringIO::Ring.new(backend:)
      heard = []
      waits = [-> { streams.recv_each(readers[1]) { |it| heard << it } },
               -> { streams.read_each(readers[2]) { |it| heard << it } },
               -> { streams.accept_each(TCPServer.new("127.0.0.1", 0), timeout: 0.02) { nil } },
               -> { streams.batch { |b| b.recv(readers[3], 9) && b.poll(readers[4], IO::READABLE) } },
               -> { readers[5].readpartial(9) }, -> { readers[6].wait_priority(0.02) }, -> { sleep(0.01) },
               -> { File.read(secret.path) }, -> { Process.wait(spawn("sleep 0.01")) },
               -> { IO.select(readers.last(1), nil, nil, 0.02) }]
      waits.sample(random.rand(1..waits.size), random:).each do |wait|
        Fiber.schedule do
          wait.call
        rescue IO::TimeoutError
          nil
        rescue UringIO::UnsupportedError => error
          wrong << error.message unless restrict
        end
      end
      sleep(0)
      try_outside.call(wrong, streams) if restrict && backend == :io_uring
      block.call(scheduler, selector, ring, memory)
      writers.each { |writer| writer.write("x") && writer.close }
    end
    # It may come back early, for a signal.
    10.times { selector.select(1) if waiter.alive? }
    wrong << "a selector lost its waiter" if waiter.alive?
    wrong << "a ring says something else" unless ring.stat("/").directory?
    memory&.release
    [ring, selector, *readers].each(&:close)
  end

  # With what this one has inherited itself.
  own = Dir.children("/proc/self/fd").select do |number|
    !IO.for_fd(Integer(number), autoclose: false).close_on_exec?
  rescue Errno::EBADF, ArgumentError
    false
  end
  # Finds descriptors of a started program that it has not opened itself.
  started = lambda do |wrong|
    alive.call(wrong) do
      found = IO.popen(["ls", "-l", "/proc/self/fd"], err: File::NULL).readlines(chomp: true).grep(/ -> /)
      found.reject! { |line| own.include?(line[/ (\d+) -> /, 1]) || line.include?("/proc/") }
      wrong << "a program has inherited #{found}" if found.any?
    end
  end

  # A use of each object in a child.
  uses = { scheduler: ->(it) { it.io_wait($stdin, IO::READABLE, 0) }, selector: ->(it) { it.select(0) },
           ring: :nop.to_proc, batch: ->(it) { it.batch(&:nop) }, stat: ->(it) { it.stat("/") },
           chain: ->(it) { it.chain(&:nop) }, stats: :stats.to_proc }
  forked = lambda do |wrong|
    alive.call(wrong) do |scheduler, selector, ring, memory|
      chosen = uses.to_a.sample(random.rand(uses.size + 1), random:)
      tidy = random.rand(2).zero?
      reader, writer = IO.pipe
      pid = fork do
        troubles = []
        chosen.each do |name, use|
          use.call({ scheduler:, selector: }.fetch(name, ring))
          troubles << "a child can use a #{name}"
        rescue UringIO::ClosedError
          nil
        end
        [ring, selector, scheduler].each(&:close) if tidy
        troubles << "a child has registered memory" if tidy && memory && !memory.released?
        GC.start
        UringIO.run(backend:) { UringIO::Ring.new(backend:).stat("/") && sleep(0.001) }
        writer.write(Marshal.dump(troubles))
      rescue Exception => error # rubocop:disable Lint/RescueException
        writer.write(Marshal.dump([error.full_message(highlight: false)]))
      ensure
        writer.close
        random.rand(2).zero? ? exit!(0) : exit(0)
      end
      writer.close
      told = reader.read
      reader.close
      _, status = Process.wait2(pid)
      wrong << "a child ended with #{status.inspect}" unless status.success?
      wrong.concat(Marshal.load(told)) unless told.empty? # rubocop:disable Security/MarshalLoad
      fault
    end
  end

  # A process that has changed its user can open the files of the new user only, on earlier rings, too.
  dropped = lambda do |wrong|
    attempts = { open: ->(ring) { ring.open(secret.path) }, batch: ->(ring) { ring.batch! { |b| b.open(secret.path) } },
                 chain: ->(ring) { ring.chain { |c| c.open(secret.path) } },
                 unlink: ->(ring) { ring.unlink(victim) } }
    rings = [{}, *polled].map { |option| UringIO::Ring.new(backend:, **option) }
    opened = rings.map { |ring| ring.open(secret.path) }
    [-> { Process::UID.change_privilege(NOBODY) }, -> { Process::Sys.setresuid(-1, NOBODY, -1) },
     -> { Process::GID.change_privilege(NOBODY) && Process::UID.change_privilege(NOBODY) }].sample(random:).call
    rings.zip(opened) do |ring, descriptor|
      wrong << "what was open can be read no more" if ring.read(descriptor, 100, offset: 0) != SECRET
      attempts.to_a.shuffle(random:).each do |name, attempt|
        attempt.call(ring)
        wrong << "#{name} was made as root"
      rescue Errno::EACCES, Errno::EPERM, UringIO::ChainError, UringIO::UnsupportedError
        nil
      end
    end
    later = UringIO::Ring.new(backend:, **(polled.first || {}))
    wrong << "a new ring does not work" unless later.stat("/").directory?
    begin
      later.open(secret.path)
      wrong << "a new ring opens what is root's"
    rescue Errno::EACCES
      nil
    end
  end

  rounds = { "a started program" => started, "a forked child" => forked }
  rounds["another user"] = dropped if Process.euid.zero?
  before = descriptors
  while more?
    name, round = rounds.to_a.sample(random:)
    File.write(victim, "")
    # Its own, so that a child's choices do not depend on how many the ones before have made.
    dice = Random.new(random.rand(1 << 30))
    apart.call(name) do |wrong|
      @random = dice
      round.call(wrong)
    end
    fault
  end
  FileUtils.rm_f([victim, secret.path])
  expect(descriptors == before, "#{descriptors - before} descriptors were left")
end
