# frozen_string_literal: true

require_relative "nio_helper"
require "tmpdir"

RSpec.describe "require \"uring_io/nio\"" do
  own = "UringIO::NIO::Selector\n"
  nio4r = "NIO::Selector\n"

  # The output of a program of these lines. The program must write nothing to standard error.
  def written_by(*lines, env: {})
    result = child(["def show(selector = NIO::Selector.new) = puts(selector.class)", *lines].join("\n"), env:)
    expect(result.stderr).to eq("")
    expect(result.status).to be_success
    result.stdout
  end

  def needs_nio4r
    skip "nio4r is not installed" if Gem::Specification.find_all_by_name("nio4r").empty?
  end

  it "makes our selector the default, before and after `require \"nio\"`" do
    needs_nio4r
    expect(written_by('require "uring_io/nio"', 'require "nio"', "show")).to eq(own)
    expect(written_by('require "nio"', "show", 'require "uring_io/nio"', "show")).to eq(nio4r + own)
    expect(written_by('require "uring_io/nio"', "show NIO::Selector.new(nil)")).to eq(own)
  end

  it "leaves nio4r's own selectors to programs that name them, and leaves its subclasses alone" do
    needs_nio4r
    lines = ['require "uring_io/nio"', "show NIO::Selector.new(:epoll)", "Kind = Class.new(NIO::Selector)",
             "show Kind.new", "begin", "NIO::Selector.new(:none)", "rescue ArgumentError => error",
             "puts error.message", "end"]
    expect(written_by(*lines)).to eq("#{nio4r}Kind\nunsupported backend: :none\n")
  end

  it "adds our selector to the backends under a name of its own" do
    needs_nio4r
    names = "NIO::Selector.backends"
    lines = ['require "nio"', "usual = #{names}", 'require "uring_io/nio"', "p #{names} - usual", "p usual - #{names}",
             "#{names}.clear", "p #{names}.first == usual.first", "show NIO::Selector.new(:uring_io)"]
    expect(written_by(*lines)).to eq("[:uring_io]\n[]\ntrue\n#{own}")
  end

  it "works for threads and forked children" do
    needs_nio4r
    lines = ['require "uring_io/nio"', "Thread.new { show }.join", "Process.wait(fork { show })"]
    expect(written_by(*lines)).to eq(own * 2)
  end

  each_backend do |backend|
    it "follows URING_IO_BACKEND" do
      needs_nio4r
      lines = ['require "uring_io/nio"', "puts NIO::Selector.new.backend"]
      expect(written_by(*lines, env: { "URING_IO_BACKEND" => backend.to_s })).to eq("#{backend}\n")
    end
  end

  it "falls back when io_uring is forbidden, and raises when the program names it" do
    needs_nio4r
    skip Seccomp.missing if Seccomp.missing
    lines = [Seccomp.denying_io_uring(Errno::EPERM::Errno), 'require "uring_io/nio"', "puts NIO::Selector.new.backend"]
    expect(written_by(*lines, env: { "URING_IO_BACKEND" => nil })).to eq("epoll\n")
    failing = child(lines.join("\n"), env: { "URING_IO_BACKEND" => "io_uring" })
    expect(failing.stderr).to include("UringIO::UnsupportedError")
    expect(failing.status.exitstatus).to eq(1)
  end

  it "raises LoadError without nio4r, and says how to install it" do
    lines = ["begin", 'require "uring_io/nio"', "rescue LoadError => error", "print error.message", "end"]
    said = written_by(*lines, env: { "RUBYOPT" => "--disable-gems" })
    expect(said).to include("needs nio4r").and include("gem install puma").and include("Gemfile")
  end

  it "passes on nio4r's own LoadError" do
    Dir.mktmpdir("uring_io-nio4r") do |folder|
      File.write(File.join(folder, "nio.rb"), "require \"no/such/part\"\n")
      lines = ["$LOAD_PATH.unshift(#{folder.dump})", "begin", 'require "uring_io/nio"', "rescue LoadError => error",
               "print error.path", "end"]
      expect(written_by(*lines)).to eq("no/such/part")
    end
  end
end
