# frozen_string_literal: true

require_relative "async_helper"
require "net/http"
require "open3"

RSpec.describe "examples/async_http.rb" do
  before { skip "the gem async-http is not installed" if Gem::Specification.find_all_by_name("async-http").empty? }

  let(:command) do
    root = File.expand_path("../..", __dir__)
    [RbConfig.ruby, "-W1", "-I#{root}/lib", "#{root}/examples/async_http.rb"]
  end

  # Waits until the program is idle. Ruby 3.3 raises Interrupt wherever the program is, even while Async ends a task.
  # From Ruby 3.4 on, Interrupt waits until Async asks for it.
  def at_rest(program)
    looks = 0
    eventually { (looks = File.read("/proc/#{program.pid}/stat")[/\) (.)/, 1] == "S" ? looks + 1 : 0) == 50 }
  end

  each_backend do |backend|
    it "serves its own clients" do
      output, status = Open3.capture2e({ "URING_IO_BACKEND" => backend.to_s }, *command, "--clients", "5")
      expect(output.lines.first).to match(%r{\AListening on http://127.0.0.1:\d+ \(#{backend}\)\n\z})
      expect(output.lines.drop(1)).to eq(["100 of 100 greetings were right\n"])
      expect(status).to be_success
    end

    it "serves other clients until a signal comes" do
      %w[INT TERM].each do |signal|
        IO.popen({ "URING_IO_BACKEND" => backend.to_s }, [*command, "--serve"]) do |program|
          url = program.gets[%r{http://\S+}]
          expect(Net::HTTP.get(URI("#{url}/spec"))).to eq("Hello, spec\n")
          at_rest(program)
          Process.kill(signal, program.pid)
          expect(program.read).to eq("Ended by a signal\n")
        ensure
          # After a failure above, the program must not keep the example waiting.
          Process.kill(:KILL, program.pid)
        end
        expect($?).to be_success
      end
    end
  end

  it "prints its usage" do
    output, status = Open3.capture2e(*command, "--help")
    expect(output).to include("Usage: ", "--port", "--clients", "--requests", "--serve")
    expect(status).to be_success
  end

  it "reports a wrong backend in one sentence" do
    output, status = Open3.capture2e({ "URING_IO_BACKEND" => "devpoll" }, *command)
    expect(output).to start_with("async_http: ").and include("devpoll")
    expect(output.lines.size).to eq(1)
    expect(status.exitstatus).to eq(1)
  end
end
