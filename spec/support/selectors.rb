# frozen_string_literal: true

require "fcntl"

# Specifies the contract of IO::Event::Selector once, for each of our selectors. Where the io-event gem is installed,
# its own selectors run the same examples, as controls. An example that they fail is either wrong, or says where they
# differ.
module Selectors
  OWN = { io_uring: :URing, epoll: :EPoll, kqueue: :KQueue, poll: :Poll, select: :Select }.freeze

  # When several processes share the backends, only one of them needs the controls.
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
  # The example's metadata says where io-event's selectors differ, as a String for both or by the selector's name.
  # <tt>io_event: { EPoll: "..." }</tt> expects a failure. <tt>io_event_hangs:</tt> leaves the example out, also when it
  # fails only at times.
  def each_selector(**metadata, &)
    each_own_selector(**metadata, &)
    CONTROLS.each do |name|
      context "on io-event's #{name}", **metadata, control: name do
        let(:selector_class) { IO::Event::Selector.const_get(name, false) }
        class_exec(&)
      end
    end
  end

  # Like each_selector, but without the controls: for what only our selectors have.
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

  # How io-event's selector differs in this example, or nil when it does not.
  def self.deviation(metadata, key)
    said = metadata[key]
    said.is_a?(Hash) ? said[metadata[:control]] : said
  end

  # A started fiber, and its outcome.
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

    # Runs the fiber until it parks. Call this only on the loop fiber: Ruby goes there when the fiber ends.
    def start
      @fiber.transfer
      self
    end

    def done?
      !!@done
    end

    # The block's value. Raises the block's exception.
    def value
      raise @error if @error
      raise "it goes on waiting" unless @done

      @value
    end
  end

  # For use within examples.
  module Helpers
    # Examples leave fibers behind that wait for ever. Each keeps its stack mapped until Ruby collects it. The more
    # memory is mapped, the longer each fork of later examples takes.
    COLLECT_EVERY = 25

    def self.collect_at_times
      @examples = (@examples || 0) + 1
      GC.start if (@examples % COLLECT_EVERY).zero?
    end

    # The block's value, from a thread of its own whose fiber is the loop fiber of a new selector.
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

    # The block's value, from a fiber. The selector serves that fiber until it has ended.
    def served(selector, &)
      finished(selector, started(&))
    end

    # The task's value. The selector serves the task until it has ended.
    def finished(selector, task)
      run_until(selector) { task.done? }
      task.value
    end

    # Runs the selector until the block is true.
    def run_until(selector)
      selector.select(nil) until yield
    end

    # Runs everything that is ready. For examples that prove that something does not happen.
    def run_what_can(selector, rounds = 4)
      rounds.times { selector.select(0) }
    end

    # A fiber that parks in the selector without waiting for an event. +seen+ collects the values that it gets.
    def parked(selector, seen = [])
      fiber = Fiber.new { loop { seen << selector.transfer } }
      fiber.transfer
      fiber
    end

    # Calls io_wait for the current fiber.
    def wait_for(selector, io, events)
      selector.io_wait(Fiber.current, io, events)
    end

    # Call io_read and io_write for the current fiber.
    def read_into(selector, io, buffer, length, offset = 0)
      selector.io_read(Fiber.current, io, buffer, *range(length, offset))
    end

    def write_from(selector, io, buffer, length, offset = 0)
      selector.io_write(Fiber.current, io, buffer, *range(length, offset))
    end

    # Whether the descriptor has O_NONBLOCK.
    def nonblocking?(io)
      (io.fcntl(Fcntl::F_GETFL) & File::NONBLOCK).positive?
    end

    # A pipe as other programs make them. Ruby's own pipes have O_NONBLOCK.
    def blocking_pipe
      pipe.each { |io| io.fcntl(Fcntl::F_SETFL, io.fcntl(Fcntl::F_GETFL) & ~File::NONBLOCK) }
    end

    # The two numbers after the buffer, in this Ruby's order.
    def range(length, offset = 0)
      Contract::OFFSET_FIRST ? [offset, length] : [length, offset]
    end

    # Runs a program of its own about one selector class, which it gets as SELECTOR. It also gets OFFSET_FIRST.
    def program(script, &)
      load = "require \"io/event\" if ARGV[0].start_with?(\"IO::\")"
      child(<<~RUBY, selector_class.name, &)
        #{load}
        SELECTOR = Object.const_get(ARGV[0])
        OFFSET_FIRST = #{Contract::OFFSET_FIRST}
        #{script}
      RUBY
    end

    # Waits until the thread sleeps. A thread that runs a selector seldom sleeps outside of its wait.
    def until_asleep(thread)
      Thread.pass until thread.stop?
    end

    # Runs the block in another thread, which ends with the example in any case. The block gets the calling thread.
    def in_background
      caller = Thread.current
      thread = Thread.new do
        Thread.current.report_on_exception = false
        yield caller
      end
      (@background ||= []) << thread
      thread
    end

    # Runs the block while another thread calls +again+ over and over, at least whenever this thread sleeps.
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
