# frozen_string_literal: true

# File#flock waits in flock(2), with the whole thread. A fiber that holds the lock and lets others run while it reads or
# writes would never run again to give it back.
module UringIO
  # Lets other fibers run while a fiber waits for a lock.
  #
  # The lock is tried again and again. A thread in flock(2) would get it at once, but there would have to be one for
  # each fiber that waits, and it would have to give back what came too late for its fiber: not knowing whether another
  # holder of the same open file had it before. So nothing is ever held for a fiber that has left.
  # @api private
  module Flock
    # Seconds between tries: at first, and at most.
    FIRST = 0.001
    LAST = 0.016
    private_constant :FIRST, :LAST

    # As File#flock.
    def flock(operation)
      return super unless Fiber.current_scheduler && operation.is_a?(Integer)

      taken = super(operation | File::LOCK_NB)
      return taken if taken || operation.anybits?(File::LOCK_NB)

      pause = FIRST
      until taken
        sleep(pause)
        pause = [pause * 2, LAST].min
        taken = super(operation | File::LOCK_NB)
      end
      taken
    end
  end

  # In a block, as YARD knows no File.
  File.class_eval { prepend(Flock) }
end
