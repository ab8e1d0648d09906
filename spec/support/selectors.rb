# frozen_string_literal: true

require "fcntl"

# The contract of IO::Event::Selector is specified once, for each of our selectors. Where the io-event gem is
# installed, its own selectors run the same examples: an example that they fail is either wrong, or says what
# they do otherwise.
module Selectors
  OWN = { io_uring: :URing, epoll: :EPoll, kqueue: :KQueue, poll: :Poll, select: :Select }.freeze

  # Ours needs no control in each of several processes that share the backends.
  CONTROLS = begin
    if Backends::CHOSEN.include?(:epoll)
      require "io/event"
      %i[EPoll Select].select { |name| IO::Event::Selector.const_defined?(name, false) }
    else
      []
    end
  rescue LoadError
    []
  end.freeze

  # Declares the block's examples once per selector. Within them +selector_class+ is its class.
  #
  # The example's metadata says where io-event's selectors differ, as a String for both or by the selector's
  # name: <tt>io_event: { EPoll: "..." }</tt> expects a failure, <tt>io_event_hangs:</tt> leaves the example out,
  # also when it fails at times only.
  def each_selector(**metadata, &)
    each_own_selector(**metadata, &)
    CONTROLS.each do |name|
      context "on io-event's #{name}", **metadata, control: name do
        let(:selector_class) { IO::Event::Selector.const_get(name, false) }
        class_exec(&)
      end
    end
  end

  # As each_selector, without the controls: for what is ours only.
  def each_own_selector(**metadata, &)
    (Backends::CHOSEN & OWN.keys).each do |backend|
      reason = Backends.missing(backend)
      context "on #{backend}", **metadata, **(reason ? { skip: reason } : {}), backend: do
        let(:backend) { backend }
        let(:selector_class) { UringIO::Selector.const_get(OWN.fetch(backend), false) }
        class_exec(&)
      end
    end
  end

  # The difference of io-event in this example; nil when there is none.
  def self.deviation(metadata, key)
    said = metadata[key]
    said.is_a?(Hash) ? said[metadata[:control]] : said
  end

  # A fiber that was started, and what came of it.
  class Task
    attr_reader :fiber, :error

    def initialize
      @fiber = Fiber.new do
        @value = yield
      rescue StandardError => error
        @error = error
      ensure
        @done = true
      end
    end

    # Runs it until it parks. On the loop fiber only: it is where control goes when a fiber ends.
    def start
      @fiber.transfer
      self
    end

    def done?
      !!@done
    end

    # The value of the block; raises the exception of the block.
    def value
      raise @error if @error
      raise "it goes on waiting" unless @done

      @value
    end
  end

  # For use within examples.
  module Helpers
    # Examples leave fibers behind that wait for ever. Each keeps its stack mapped until it is collected, and the
    # more is mapped the longer a fork takes, for all the examples that follow.
    COLLECT_EVERY = 25

    def self.collect_at_times
      @examples = (@examples || 0) + 1
      GC.start if (@examples % COLLECT_EVERY).zero?
    end

    # The block's value, from a thread of its own, on whose fiber a new selector loops.
    def selecting(**options)
      Helpers.collect_at_times
      in_thread do
        selector = new_selector(**options)
        yield selector, Fiber.current
      ensure
        selector&.close
      end
    end

    def new_selector(loop = Fiber.current, **)
      selector_class.new(loop, **)
    end

    # A fiber that runs the block until it parks.
    def started(&)
      Task.new(&).start
    end

    # The block's value, from a fiber that the selector serves until it has ended.
    def served(selector, &)
      finished(selector, started(&))
    end

    # The value of a task that the selector serves until it has ended.
    def finished(selector, task)
      run_until(selector) { task.done? }
      task.value
    end

    # Lets the selector wait and serve until the block is true.
    def run_until(selector)
      selector.select(nil) until yield
    end

    # Lets everything run that can. For proving that something does not happen.
    def run_what_can(selector, rounds = 4)
      rounds.times { selector.select(0) }
    end

    # A fiber that parks in the selector without waiting for anything; it collects in +seen+ what it is given.
    def parked(selector, seen = [])
      fiber = Fiber.new { loop { seen << selector.transfer } }
      fiber.transfer
      fiber
    end

    # io_wait by the current fiber.
    def wait_for(selector, io, events)
      selector.io_wait(Fiber.current, io, events)
    end

    # io_read and io_write by the current fiber.
    def read_into(selector, io, buffer, length, offset = 0)
      selector.io_read(Fiber.current, io, buffer, *range(length, offset))
    end

    def write_from(selector, io, buffer, length, offset = 0)
      selector.io_write(Fiber.current, io, buffer, *range(length, offset))
    end

    # Whether the descriptor says O_NONBLOCK.
    def nonblocking?(io)
      (io.fcntl(Fcntl::F_GETFL) & File::NONBLOCK).positive?
    end

    # A pipe as other programs make them. Ruby's say O_NONBLOCK.
    def blocking_pipe
      pipe.each { |io| io.fcntl(Fcntl::F_SETFL, io.fcntl(Fcntl::F_GETFL) & ~File::NONBLOCK) }
    end

    # The two numbers after the buffer, as this Ruby passes them.
    def range(length, offset = 0)
      Contract::OFFSET_FIRST ? [offset, length] : [length, offset]
    end

    # A program of its own about one selector's class, which it has as SELECTOR. It has Contract::OFFSET_FIRST, too.
    def program(script, &)
      load = "require \"io/event\" if ARGV[0].start_with?(\"IO::\")"
      child(<<~RUBY, selector_class.name, &)
        #{load}
        SELECTOR = Object.const_get(ARGV[0])
        OFFSET_FIRST = #{Contract::OFFSET_FIRST}
        #{script}
      RUBY
    end

    # Waits until the thread sleeps, which one that runs a selector seldom does but in its wait.
    def until_asleep(thread)
      Thread.pass until thread.stop?
    end

    # Runs the block in another thread, which ends with the example whatever happens. The block gets the thread
    # that calls this.
    def in_background
      caller = Thread.current
      thread = Thread.new do
        Thread.current.report_on_exception = false
        yield caller
      end
      (@background ||= []) << thread
      thread
    end

    # Runs the block while another thread calls +again+ over and over, at least when this one sleeps.
    def while_calling(again)
      done = false
      thread = in_background do
        until done
          again.call
          Thread.pass
        end
      end
      yield
    ensure
      done = true
      thread.join
    end

    def end_background
      @background&.each(&:kill)&.each { |thread| raised { thread.join } }
    end
  end
end

RSpec.configure do |config|
  config.extend Selectors
  config.include Selectors::Helpers
  config.after { end_background }

  config.before(:each, :control) do |example|
    hangs = Selectors.deviation(example.metadata, :io_event_hangs)
    skip "io-event: #{hangs}" if hangs
    fails = Selectors.deviation(example.metadata, :io_event)
    pending "io-event: #{fails}" if fails
  end
end
