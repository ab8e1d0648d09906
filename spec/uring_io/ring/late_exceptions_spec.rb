# frozen_string_literal: true

require "io/nonblock"

# An exception may come when a call has moved its bytes already, and nobody has seen that yet.
RSpec.describe "UringIO::Ring, raised into after its bytes have come" do
  include Rings

  def value_or_class
    yield
  rescue StandardError => error
    error.class
  end

  each_backend do
    calls = { "a call" => ->(ring, io) { ring.recv(io, 10) },
              "a call that waits to be made again" => ->(ring, io) { ring.read(io, 10) } }
    calls.each do |name, call|
      it "raises at once outside of fibers, as a blocking call of Ruby does: #{name}" do
        came = nil
        ours, theirs = unix_pair
        ours.nonblock = true
        waiting = Thread.new do
          with_ring { |ring| came = [value_or_class { call.call(ring, ours) }, value_or_class { ring.timeout(0.01) }] }
        end
        eventually { waiting.status == "sleep" }
        # Neither of them lets the thread run.
        theirs.write_nonblock("x")
        waiting.raise(IndexError)
        waiting.join
        expect(came).to eq([IndexError, nil])
      end
    end

    it "ends a thread that is killed just after an exception was raised into it" do
      went_on = false
      ours, = unix_pair
      waiting = Thread.new do
        with_ring { |ring| value_or_class { ring.batch { |batch| batch.recv(ours, 1) } } }
        sleep(0.01) # Ruby looks for a kill here, if the call has not seen it.
        went_on = true
      end
      eventually { waiting.status == "sleep" }
      waiting.raise(IndexError)
      waiting.kill
      waiting.join
      expect(went_on).to be(false)
    end

    it "gives a fiber its bytes and raises at its next wait, or leaves them where they are" do
      came = nil
      scheduled do
        with_ring do |ring|
          ours, theirs = unix_pair
          fiber = Fiber.schedule do
            came = [value_or_class { ring.recv(ours, 10) }, value_or_class { ring.timeout(0.01) }]
            came << ours.read_nonblock(10, exception: false)
          end
          theirs.write_nonblock("x")
          fiber.raise(IndexError)
        end
      end
      expect(came).to eq(["x", IndexError, :wait_readable]).or eq([IndexError, nil, "x"])
    end
  end
end
