# frozen_string_literal: true

# Runs spec/programs/every_hook.rb on all backends at the same time, until Ctrl-C. URING_IO_SPEC_MINUTE=10 shortens its
# minute to 10 seconds.
RSpec.describe "A program that uses every hook in three threads and four children, collected at every allocation by " \
               "turns" do
  seconds = Integer(ENV.fetch("URING_IO_SPEC_MINUTE", "60"))
  # The programs need time to begin and to end, because the machine runs all of them at once.
  limit = seconds + 90
  # Even on a busy machine, the program repeats its longest step at least once in this many seconds.
  slowest = 10

  before(:context) do
    script = "load #{File.expand_path('../programs/every_hook.rb', __dir__).dump}"
    backends = Backends::CHOSEN.reject { |backend| Backends.missing(backend) }
    @programs = backends.to_h { |backend| [backend, ChildProgram.new(script, backend, seconds, limit:)] }
  end

  after(:context) { @programs.each_value(&:stop) }

  # The lines that the program prints, by subject and in order.
  def report(lines)
    lines.to_h { |line| line.chomp.split(": ", 2) }
  end

  # Turns "tcp 81 pipe 90" into a Hash of counts by name.
  def counts(text)
    text.split.each_slice(2).to_h.transform_values { |count| Integer(count) }
  end

  def group_left?(program)
    Process.kill(0, -program.pid) && true
  rescue Errno::ESRCH
    false
  end

  each_backend(limit: limit + 10) do |backend|
    it "works for #{seconds} s, and Ctrl-C ends all of it without a message of Ruby's" do
      program = @programs.fetch(backend)
      expect([program.gets, program.gets]).to eq(%W[ready\n worked\n])
      Process.kill(:INT, -program.pid) # to the whole group, as a terminal sends it
      result = program.finish

      expect(result.stderr).to eq("")
      # The program must die of the signal itself, not by exit(130). A shell sets $? to 130 for such a death, and ends
      # the script or loop that ran the program: the death shows that the program did not use Ctrl-C as a key of its
      # own.
      expect(result.status.termsig).to eq(Signal.list["INT"])
      eventually { !group_left?(program) }

      told = report(result.stdout.lines)
      expect(told.keys).to eq(["thread 1", "thread 2", "thread 3", "hooks", "collections",
                               "child 1", "child 2", "child 3", "child 4", "never called", "stuck"])
      expect(told.values_at("never called", "stuck")).to eq(%w[none none])
      # A child's line also says how the child ended.
      expect((1..4).map { |number| told["child #{number}"][/\D+ \d+\z/] }).to all(eq(" signal 2"))

      done = told.slice("thread 1", "thread 2", "thread 3").transform_values { |text| counts(text) }
      expect(done.values.flat_map(&:values)).to all(be >= seconds / slowest), done.inspect
      expect(Integer(told["collections"])).to be >= seconds
    end
  end
end
