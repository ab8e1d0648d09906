# frozen_string_literal: true

module UringIO
  # See trace.rb.
  class Trace
    # The trace of one scheduler, selector or ring that goes on.
    module Snapshot
      # What this one's fibers have done so far, while a recording goes on: in the block of UringIO.trace, or with
      # URING_IO_TRACE. The recording goes on. Any thread may ask. A ring tells of what it did itself: in a fiber, its
      # calls are the scheduler's.
      # @return [Trace]
      # @raise [Error] when nothing is recorded
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
