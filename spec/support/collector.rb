# frozen_string_literal: true

# Runs examples with the garbage collector at its worst, to find references that it does not know. URING_IO_SPEC_GC is
#
# stress:: it runs at every allocation of an example's body, through the whole heap
# minor:: it does the same, but only through new objects, which is about sixty times as fast
# compact:: every collection moves all objects that it can, and all objects move between examples
#
# The first two last for URING_IO_SPEC_GC_SECONDS of each example, so that examples with many allocations end, too.
module Collector
  # The values of GC.stress.
  STRESS = { "stress" => true, "minor" => 1 }.freeze
  MODE = ENV.fetch("URING_IO_SPEC_GC", nil)
  SECONDS = Float(ENV.fetch("URING_IO_SPEC_GC_SECONDS", "1"))
  # Checking that no reference to an object's old place is left takes long, so do it only now and then.
  VERIFY_EVERY = 100

  unless [nil, "compact", *STRESS.keys].include?(MODE)
    raise ArgumentError, "URING_IO_SPEC_GC: there is no #{MODE}, only #{STRESS.keys.join(', ')} and compact"
  end

  class << self
    def stress
      @over = Thread::Queue.new
      @end = Thread.new(@over) do |over|
        over.pop(timeout: SECONDS)
        GC.stress = false
      end
      GC.stress = STRESS.fetch(MODE)
    end

    def relax
      GC.stress = false
      @over.close
      @end.join
    end

    def compact
      @compacted = (@compacted || 0) + 1
      GC.compact
      return unless (@compacted % VERIFY_EVERY).zero?

      GC.verify_compaction_references(expand_heap: true, toward: :empty)
    end
  end
end

RSpec.configure do |config|
  if Collector::STRESS.key?(Collector::MODE)
    # These fail when a fiber is slower to reach its wait than another fiber's wait lasts.
    config.filter_run_excluding hurried: true
    config.before { Collector.stress }
    config.prepend_after { Collector.relax }
  elsif Collector::MODE == "compact" && GC.respond_to?(:compact)
    config.before(:suite) { GC.auto_compact = true }
    config.before { Collector.compact }
  end
end
