# frozen_string_literal: true

# A timeout step succeeds when its time has passed. Linux before 5.16 reports that as a failure, which breaks a chain.
RSpec.describe UringIO::Ring, "#chain with timeouts" do
  each_backend do
    it "goes on after each timeout, wherever it is" do
      [false, true].each do |hardlink|
        everywhere do |ring|
          input, output = pipe
          results = ring.chain(hardlink:) do |steps|
            steps.timeout(0.001)
            steps.write(output, "one")
            steps.timeout(0)
            steps.timeout(0.001)
            steps.read(input, 3)
            steps.timeout(0.001)
          end
          expect(results).to eq([nil, 3, nil, nil, "one", nil])
        end
      end
    end

    it "does not go on before the time has passed" do
      everywhere do |ring|
        input, output = pipe
        start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        ring.chain { |steps| steps.timeout(0.02).then { steps.write(output, "x") } }
        expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - start).to be >= 0.02
        expect(input.readpartial(9)).to eq("x")
      end
    end

    it "may end during a timeout, and makes none of the later steps" do
      everywhere do |ring|
        input, output = pipe
        step = ->(steps) { steps.timeout(60).then { steps.write(output, "x") } }
        error = raised { ring.chain(timeout: 0.02, &step) }
        expect([error.class, error.step.name]).to eq([UringIO::ChainError, :timeout])
        expect(ended { ring.chain(&step) }).to be_a(IndexError)
        expect(input.read_nonblock(1, exception: false)).to eq(:wait_readable)
      end
    end

    it "breaks at a failed step between timeouts as it does without them" do
      everywhere do |ring|
        input, output = pipe
        output.write("x")
        error = raised do
          ring.chain do |steps|
            steps.timeout(0)
            steps.read(input, 2)
            steps.timeout(0)
          end
        end
        expect([error.step.name, error.step.index]).to eq([:read, 1])
      end
    end
  end
end
