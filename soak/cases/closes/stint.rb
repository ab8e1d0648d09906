# frozen_string_literal: true

module Closes
  # Memory that a child process shares with its parent: counts, and what each lane does. It outlives a crash.
  class Board
    COUNTS = %i[closes operations faults].freeze
    LANES = 24
    WIDTH = 320
    HEAD = COUNTS.size * 8
    # The room for a lane's text.
    ROOM = WIDTH - HEAD

    def initialize(file)
      file.truncate(LANES * WIDTH)
      @memory = IO::Buffer.map(file)
    end

    # One lane counts in one place, as threads would lose counts of each other.
    def count(lane, name, number)
      place = (lane * WIDTH) + (COUNTS.index(name) * 8)
      @memory.set_value(:u64, place, @memory.get_value(:u64, place) + number)
    end

    def note(lane, text)
      @memory.set_string(text.byteslice(0, ROOM).ljust(ROOM, "\0"), (lane * WIDTH) + HEAD)
    end

    def total(name)
      Array.new(LANES) { |lane| @memory.get_value(:u64, (lane * WIDTH) + (COUNTS.index(name) * 8)) }.sum
    end

    def notes
      Array.new(LANES) { |lane| @memory.get_string((lane * WIDTH) + HEAD, ROOM).delete("\0") }.reject(&:empty?)
    end
  end

  # A part of the case, in a child process that may crash.
  class Stint
    # A waiter must report within this time, and the kernel must let go of a file.
    PATIENCE = 10
    # Each violation may have cost that time.
    VIOLATIONS_MAX = 4

    # @param name [String] of the part
    # @param seed [Array<Integer>] of the case, and the number of this stint: the choices are drawn from both
    def self.run(soak, name, seed, seconds, &)
      Dir.mktmpdir("uring_io-closes") do |folder|
        board = File.open(File.join(folder, "board"), "w+b") { |file| Board.new(file) }
        where = "[#{soak.backend}, #{name}, --seed #{seed.first}, stint #{seed.last}]"
        IO.pipe do |reader, writer|
          pid = fork do
            reader.close
            $stderr.reopen(File.join(folder, "errors"), "w")
            new(soak.backend, name, seed, seconds, board, folder, writer).work(&)
          end
          writer.close
          killer = killer(pid, seconds)
          reader.each_line(chomp: true) { |text| soak.violation("#{text} #{where}") }
          ended(soak, Process.wait2(pid).last, board, File.join(folder, "errors"), where)
          killer.kill
        end
      end
    end

    # For a child that cannot even tell that it does not end, as when malloc is stuck in what was overwritten.
    def self.killer(pid, seconds)
      Thread.new do
        sleep(seconds + (2 * PATIENCE) + 5)
        Process.kill(:KILL, pid)
      end
    end

    # Adds up what a child has done.
    def self.ended(soak, status, board, errors, where)
      soak.count(:closes, board.total(:closes))
      soak.done(board.total(:operations))
      soak.fault(board.total(:faults))
      said = File.exist?(errors) ? File.foreach(errors).first(6).join(" | ").gsub("\n", "") : ""
      how = status.inspect.sub(/.*pid \d+ /, "").chop
      soak.violation("the child ended by #{how} during: #{board.notes.join('; ')} #{where}") unless status.success?
      soak.violation("the child wrote: #{said} #{where}") unless said.empty?
    end
    private_class_method :killer, :ended

    attr_reader :backend, :name, :random, :folder, :board

    def initialize(backend, name, seed, seconds, board, folder, reports)
      @backend = backend
      @name = name
      @random = Random.new((seed.first << 16) + seed.last)
      @end = now + seconds
      @give_up = @end + PATIENCE + 10
      @board = board
      @folder = folder
      @reports = reports
      @violations = 0
    end

    def work(&work)
      Thread.new { give_up }
      work.call(self)
      exit!(0)
    rescue Exception => error # rubocop:disable Lint/RescueException
      violation("#{error.class}: #{error.message} at #{error.backtrace.first(4).join(' < ')}")
      exit!(0)
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

    def more? = @violations < VIOLATIONS_MAX && now < @end

    # Any thread, any fiber, also in a trap handler.
    def violation(text)
      @violations += 1
      Fiber.blocking { @reports.syswrite("#{text.tr("\n", '|')}\n") } if @violations <= VIOLATIONS_MAX * 2
    end

    def expect(true_or_false, text)
      violation(text) unless true_or_false
    end

    private

    def give_up
      sleep(@give_up - now)
      stuck = (Thread.list - [Thread.current]) + ObjectSpace.each_object(Fiber).select(&:alive?)
      places = stuck.map { |one| one.backtrace.to_a.first(4).join(" < ").gsub("#{Dir.pwd}/", "") }.uniq
      violation("it does not end: #{places.join('; ')}; #{board.notes.join('; ')}")
      exit!(0)
    end
  end
end
