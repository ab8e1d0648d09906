# frozen_string_literal: true

require_relative "async_helper"

RSpec.describe "A trace of an Async reactor" do
  each_reactor do |selector|
    next if selector == AsyncPrograms::IO_EVENT

    it "tells that a task that Async itself had resumed kept others waiting" do
      trace = UringIO.trace do
        reactor do |task|
          near, far = unix_pair
          waiting = task.async { near.readpartial(1) }
          task.async do
            sleep(0.001)
            Fiber.blocking { far.syswrite("x") } # without a record
            started_at = monotonic
            nil until monotonic - started_at > 0.05
          end
          waiting.wait
        end
      end
      found = trace.engines.flat_map(&:fibers).find(&:outside?)
      expect(found.runs.map { |from, to| to - from }.max).to be > 50_000_000
      sentence = /<p>The loop \(or a fiber that it resumed itself\) ran for [^<]* without a pause: 1 other/
      expect(trace.html).to match(sentence)
    end

    it "gives a run to the fiber that then waits for an IO, although Async itself had resumed it" do
      trace = UringIO.trace do
        reactor do |task|
          near, far = unix_pair
          task.async do
            sleep(0.001)
            started_at = monotonic
            nil until monotonic - started_at > 0.05
            near.readpartial(1)
          end
          sleep(0.1)
          far.syswrite("x")
        end
      end
      long = trace.engines.flat_map(&:fibers).select { |fiber| fiber.runs.any? { |from, to| to - from > 50_000_000 } }
      expect(long.map(&:outside?)).to eq([false])
    end
  end
end
