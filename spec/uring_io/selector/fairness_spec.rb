# frozen_string_literal: true

RSpec.describe "UringIO::Selector, where the ready list is never empty," do
  each_selector do
    # An accept loop under many clients is such an entry: it runs a whole request each time.
    it "checks the kernel after each entry that takes long" do
      selecting do |selector, _|
        reader, writer = pipe
        waiter = started { wait_for(selector, reader, IO::READABLE) }
        turns = 0
        greedy = Fiber.new do
          until waiter.done?
            turns += 1
            writer.write("x") if turns == 3
            started_at = monotonic
            nil until monotonic - started_at > 0.0005
            selector.yield
          end
        end
        selector.push(greedy)
        selector.select(1) until waiter.done?
        expect(waiter.value).to eq(IO::READABLE)
        expect(turns).to be <= 5
      end
    end
  end
end
