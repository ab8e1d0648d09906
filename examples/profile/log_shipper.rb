# frozen_string_literal: true

# A program that writes lines to eight logs. After each line it waits until the line is on disk. It writes to one log
# after the other, or with --fibers to all logs at the same time.
#
#   ruby log_shipper.rb [--fibers] FOLDER [LINES]

require "uring_io"

LOGS = 8

fibers = ARGV.delete("--fibers")
folder = ARGV.fetch(0)
lines = Integer(ARGV.fetch(1, "60"))
logs = Array.new(LOGS) { |number| File.open(File.join(folder, "#{number}.log"), "a") }

if fibers
  ring = UringIO::Ring.new
  UringIO.run do
    logs.each do |log|
      Fiber.schedule do
        lines.times do
          ring.write(log, "a line\n")
          ring.fsync(log)
        end
      end
    end
  end
else
  lines.times do
    logs.each do |log|
      log.syswrite("a line\n")
      log.fsync
    end
  end
end
