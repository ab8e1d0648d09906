# frozen_string_literal: true

RSpec.describe UringIO::Scheduler, "#stats" do
  counters = %i[enters submissions completions direct_calls switches]
  seconds = %i[waiting_seconds running_seconds]

  each_backend do |backend|
    it "returns counters and seconds, none of them negative" do
      scheduled do |scheduler|
        stats = scheduler.stats
        expect(stats.keys).to match_array(counters + seconds)
        expect(stats.values_at(*counters)).to all(be_an(Integer).and(be >= 0))
        expect(stats.values_at(*seconds)).to all(be_a(Float).and(be >= 0))
      end
    end

    it "never decreases" do
      scheduled do |scheduler|
        input, output = unix_pair
        samples = Array.new(5) do |index|
          Fiber.schedule { input.readpartial(1) }
          sleep(0.001)
          output.write(index.to_s)
          sleep(0.001)
          scheduler.stats
        end
        samples.each_cons(2) { |before, after| before.each { |name, value| expect(after[name]).to be >= value } }
        expect(samples.last[:completions]).to be >= samples.first[:completions] + 4
        expect(samples.last[:submissions]).to be >= samples.first[:submissions] + 4
        expect(samples.last[:enters]).to be > samples.first[:enters]
      end
    end

    it "counts the time spent waiting in the kernel", hurried: true do
      scheduled do |scheduler|
        before = scheduler.stats
        sleep(0.05)
        after = scheduler.stats
        expect(after[:waiting_seconds] - before[:waiting_seconds]).to be_between(0.045, 5)
        start = monotonic
        nil until monotonic - start > 0.02
        expect(scheduler.stats[:running_seconds] - after[:running_seconds]).to be >= 0.02
      end
    end

    it "counts switches between fibers" do
      scheduled do |scheduler|
        before = scheduler.stats[:switches]
        10.times { Fiber.schedule { sleep(0) } }
        let_others_run
        expect(scheduler.stats[:switches] - before).to be >= 20
      end
    end

    it "needs fewer system calls than operations, on io_uring" do
      skip "only io_uring submits in batches" unless backend == :io_uring

      scheduled do |scheduler|
        pairs = Array.new(50) { unix_pair }
        pairs.each { |input, _| Fiber.schedule { input.readpartial(1) } }
        before = scheduler.stats
        50.times { |index| Fiber.schedule { pairs[index].last.write("x") } }
        let_others_run(10)
        after = scheduler.stats
        expect(after[:completions] - before[:completions]).to be >= 100
        expect(after[:enters] - before[:enters]).to be <= 20
      end
    end

    it "raises ThreadError in any thread but the owner's" do
      scheduled do |scheduler|
        expect(Thread.new { raised { scheduler.stats }.class }.value).to be(ThreadError)
      end
    end
  end
end
