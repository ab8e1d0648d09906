# frozen_string_literal: true

require "uring_io/nio/selector"

# Specifies the contract of NIO::Selector once, for our selector on each backend. Where nio4r is installed, its own
# selector runs the same examples. An example that it fails is either wrong, or says where nio4r differs.
module NIOSelectors
  NIO4R = begin
    require "nio"
    NIO.engine == "libev" && Backends::CHOSEN.include?(:epoll)
  rescue LoadError
    false
  end

  # Declares the block's examples once per selector.
  #
  # The metadata says where nio4r differs: <tt>nio4r: "..."</tt> leaves the example out.
  def each_nio_selector(**metadata, &)
    each_own_nio_selector(**metadata, &)
    return unless NIO4R

    context "on nio4r's own selector", **metadata, nio4r_itself: true do
      let(:selector) { NIO::Selector.new(:epoll) }
      class_exec(&)
    end
  end

  # Like each_nio_selector, with our selector only.
  def each_own_nio_selector(**metadata, &)
    each_backend(**metadata) do |backend|
      let(:selector) { UringIO::NIO::Selector.new(backend:) }
      class_exec(&)
    end
  end

  # For use within examples.
  module Helpers
    # A thread that sleeps in the selector's select. It ends with the example.
    def selecting_thread(&)
      in_background { selector.select(&) }.tap { |thread| until_asleep(thread) }
    end

    # A block for a select that must not yield.
    def yielding_nothing(*) = raise("yielded")

    # A connected socket that is registered and armed, and its peer.
    def armed(interests = :r)
      ours, peer = unix_pair
      monitor = selector.register(ours, interests)
      selector.select(0)
      [monitor, ours, peer]
    end

    # The seconds of processor time that this thread uses for the block.
    def processor_time
      stress = GC.stress
      GC.stress = false
      before = Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID)
      yield
      Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID) - before
    ensure
      GC.stress = stress
    end

    # The result of select after a wakeup. nio4r treats an early wakeup as the end of the timeout.
    def be_woken
      eq([]).or be_nil
    end
  end
end

RSpec.configure do |config|
  config.extend NIOSelectors
  config.include NIOSelectors::Helpers
  config.before(:each, :nio4r_itself) do |example|
    skip "nio4r: #{example.metadata[:nio4r]}" if example.metadata[:nio4r]
  end
end
