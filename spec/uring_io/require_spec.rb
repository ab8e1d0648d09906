# frozen_string_literal: true

require "open3"
require "rbconfig"

RSpec.describe UringIO, "when it is required" do
  # The output of a Ruby without gems, on both streams. It loads the libraries that ours may load beforehand.
  def ruby(script, *options, command: [])
    output, status = Open3.capture2e(*command, RbConfig.ruby, "--disable=gems", *options, "-I", ChildProgram::LIB,
                                     "-r", "socket", "-e", script)
    expect(status).to be_success, output
    output
  end

  it "prints nothing, with all warnings on" do
    expect(ruby('require "uring_io"', "-w", "-W:experimental", "-W:deprecated", "-W:performance")).to eq("")
  end

  it "loads only itself and the socket library" do
    loaded = ruby(<<~'RUBY').lines(chomp: true)
      before = $LOADED_FEATURES.dup
      require "uring_io"
      puts $LOADED_FEATURES - before
    RUBY
    expect(loaded.grep_v(%r{/lib/uring_io(\.rb\z|/)})).to eq([])
    expect(loaded.size).to be < 30
  end

  it "opens no descriptor and starts no thread or process" do
    counts = ruby(<<~'RUBY')
      count = -> { %w[fd task].map { |kind| Dir.children("/proc/self/#{kind}").size } << Thread.list.size }
      before = count.call
      require "uring_io"
      p count.call.zip(before).map { |after, was| after - was }
    RUBY
    expect(counts).to eq("[0, 0, 0]\n")
  end

  it "makes no ring, not even to try" do
    skip SystemCalls.missing if SystemCalls.missing

    Tempfile.create("uring_io-spec-strace") do |trace|
      calls = "trace=/^(io_uring_.*|epoll_create.*|eventfd.*|clone.*|fork|vfork|pipe.*)$"
      script = 'Process.getpriority(0, 0); require "uring_io"; Process.getpriority(0, 0)'
      ruby(script, command: ["strace", "-f", "-o", trace.path, "-e", "#{calls}|getpriority"])
      names = File.readlines(trace.path).filter_map { |line| line[/\A\d+ +(\w+)\(/, 1] }
      expect(names.slice(names.index("getpriority")..names.rindex("getpriority"))).to eq(%w[getpriority] * 2)
    end
  end
end
