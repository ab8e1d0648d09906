# frozen_string_literal: true

module UringIO
  class Trace
    # The trace of one scheduler, selector or ring while a recording goes on.
    module Snapshot
      # The trace of what this object's fibers have done so far. A recording must be going on: in the block of
      # UringIO.trace, or with URING_IO_TRACE. This does not end it, and any thread may call it. The trace of a ring has
      # only the calls that the ring made itself: in a fiber, the scheduler makes its calls.
      # @return [Trace]
      # @raise [Error] when there is no recording of it
      def trace
        recording = recorded
        return Trace.new([recording]) if recording

        raise Error, "nothing is recorded of this #{self.class}: use UringIO.trace { ... } around it, or start the " \
                     "program with URING_IO_TRACE=FILE"
      end
    end

    [Scheduler, Selector, Ring].each { |owner| owner.include(Snapshot) }
  end
end
