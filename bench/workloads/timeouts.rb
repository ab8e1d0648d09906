# frozen_string_literal: true

require "timeout"
require_relative "../program"

FIBERS = 50
LATE = [true, false, false, true, false, false, true, false, false, false].freeze

# Three of ten time limits pass. In the other seven cases the work ends in time.
Bench.program do |b|
  FIBERS.times do |number|
    near, far = UNIXSocket.pair
    b.spawn { loop { far.write(far.readpartial(64)) } }
    b.spawn do
      LATE.rotate(number).cycle do |late|
        b.op do
          if late
            begin
              Timeout.timeout(0.001) { sleep(10) }
              raise "a limit did not pass"
            rescue Timeout::Error
              nil
            end
          else
            Timeout.timeout(10) do
              near.write("ping")
              near.readpartial(64)
            end
          end
        end
      end
    end
  end
end
