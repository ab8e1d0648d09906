# frozen_string_literal: true

require "timeout"

# Calls of UringIO::Ring, and ways to interrupt them.
module Rings
  ENDINGS_IN_FIBERS = %i[timeout fiber_interrupt fiber_raise fiber_kill].freeze
  ENDINGS_ELSEWHERE = %i[timeout thread_raise].freeze

  def with_ring(**)
    ring = UringIO::Ring.new(backend:, **)
    yield ring
  ensure
    ring&.close
  end

  # The same without a scheduler, and in a fiber of one.
  def everywhere(**options, &)
    with_ring(**options, &)
    scheduled { with_ring(**options, &) }
  end

  # The block's exception when something interrupts it while it waits.
  def ended(&)
    ended_by(Fiber.current_scheduler ? :timeout : :thread_raise, &)
  end

  # The names of the possible interruptions here: see ended_by.
  def endings
    return ENDINGS_IN_FIBERS if Fiber.current_scheduler

    ENDINGS_ELSEWHERE
  end

  # The block's exception after this interruption while it waits, or nil for a killed fiber.
  def ended_by(way, &block)
    case way
    when :timeout then raised { Timeout.timeout(0.02, IndexError, &block) }
    when :thread_raise then raised_into_thread(&block)
    when :fiber_interrupt
      scheduler = Fiber.scheduler
      in_ended_fiber(block) { |fiber| Thread.new { scheduler.fiber_interrupt(fiber, IndexError.new) }.join }
    when :fiber_raise then in_ended_fiber(block) { |fiber| fiber.raise(IndexError) }
    when :fiber_kill then in_ended_fiber(block, &:kill)
    end
  end

  # Expects the two blocks to raise the same Errno.
  def expect_same_errno(ours, rubys)
    errors = [raised(&ours), raised(&rubys)]
    expect(errors).to all(be_a(SystemCallError))
    expect(errors.first.class).to be(errors.last.class)
  end

  # An IO::Buffer that owns its memory, with these bytes in it.
  def buffer_of(bytes)
    IO::Buffer.new(bytes.bytesize).tap { |buffer| buffer.set_string(bytes) }
  end

  # The number of this process's open descriptors.
  def descriptors
    Dir.children("/proc/self/fd").size
  end

  # An IO, closed after the example, for a descriptor that a ring has opened.
  def adopted(descriptor, as = IO)
    closing(as.for_fd(descriptor))
  end

  private

  def raised_into_thread(&)
    waiting = Thread.current
    other = Thread.new do
      Thread.pass until waiting.status == "sleep"
      waiting.raise(IndexError)
    end
    raised(&).tap { other.join }
  end

  # Runs the block in a fiber until it parks, interrupts the fiber, and returns the block's exception.
  def in_ended_fiber(block)
    error = nil
    # An exception that came after the block had succeeded is raised at the next wait.
    fiber = Fiber.schedule { error = raised(&block) || raised { sleep(0) } }
    yield fiber
    eventually { !fiber.alive? }
    error
  end
end

RSpec.configure do |config|
  config.include Rings
  # Starts Timeout's thread, which never ends, before the first example that uses it.
  config.before(:suite) { Timeout.timeout(60) { nil } }
end
