# frozen_string_literal: true

module UringIO
  # Lets other fibers run while a fiber waits for a lock. File#flock waits in flock(2) and blocks the whole thread. If
  # another fiber of the thread holds the lock, that fiber can then never run again to release it.
  #
  # It tries to get the lock again and again. A thread in flock(2) would get the lock sooner, but every waiting fiber
  # would need one. A thread could also get the lock after its fiber has left. It would have to release the lock then,
  # without knowing whether another user of the same open file held it before.
  # @api private
  module Flock
    # Seconds between tries: at first, and at most.
    FIRST = 0.001
    LAST = 0.016
    private_constant :FIRST, :LAST

    # Like File#flock.
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

  # With a block, because YARD does not know the class File.
  File.class_eval { prepend(Flock) }
end
