# frozen_string_literal: true

require_relative "async_helper"
require "tmpdir"

RSpec.describe "require \"uring_io/async\"" do
  # Prints the class of the next reactor's selector.
  show = <<~'RUBY'
    def show = Sync { print "#{Fiber.scheduler.instance_variable_get(:@selector).class}\n" }
  RUBY
  own = "UringIO::Selector\n"
  io_event = "IO::Event::Selector::EPoll\n"

  # The output of a program of these lines; its standard error must be that text.
  define_method(:written_by) do |*lines, env: {}, warning: ""|
    result = child([show, *lines].join("\n"), env:)
    expect(result.stderr).to eq(warning)
    expect(result.status).to be_success
    result.stdout
  end

  it "makes our selector the default, before and after `require \"async\"`, and for io-event alone" do
    expect(written_by('require "uring_io/async"', 'require "async"', "show")).to eq(own)
    expect(written_by('require "async"', 'require "uring_io/async"', "show")).to eq(own)
    alone = "print IO::Event::Selector.new(Fiber.current).class, \"\n\""
    expect(written_by('require "uring_io/async"', alone)).to eq(own)
  end

  it "is necessary: a program without it uses io-event's own selector" do
    expect(written_by('require "async"', "show")).to eq(io_event)
  end

  it "leaves a running reactor its selector and warns inside of it, and the next one has ours" do
    warning = "uring_io: uring_io/async came too late for the reactor that runs here, which keeps its own selector: " \
              "require it before Async starts\n"
    program = [%(require "async"), %(Sync { require "uring_io/async"; show }), "show"]
    expect(written_by(*program, warning:)).to eq(io_event + own)
    others = 'Sync { Thread.new { require "uring_io/async"; show }.join; show }'
    expect(written_by('require "async"', others)).to eq(own + io_event)
  end

  it "works for threads and forked children" do
    lines = ['require "async"', 'require "uring_io/async"', "Thread.new { show }.join",
             "Process.wait(fork { show })", "Sync { Process.wait(fork { Thread.new { show }.join }) }"]
    expect(written_by(*lines)).to eq(own * 3)
  end

  it "does not affect programs that the program starts, by the environment or otherwise" do
    lines = ['require "uring_io/async"', 'require "async"', 'p ENV["IO_EVENT_SELECTOR"], ENV["RUBYOPT"]',
             "script = %q(require \"async\"; Sync { print Fiber.scheduler.instance_variable_get(:@selector).class })",
             "Sync { system(RbConfig.ruby, \"-e\", script) }"]
    expect(written_by(*lines)).to eq("nil\nnil\n#{io_event.chomp}")
  end

  each_backend do |backend|
    it "follows URING_IO_BACKEND" do
      lines = ['require "uring_io/async"', 'require "async"',
               "Sync { print Fiber.scheduler.instance_variable_get(:@selector).backend, \"\n\" }"]
      expect(written_by(*lines, env: { "URING_IO_BACKEND" => backend.to_s })).to eq("#{backend}\n")
    end
  end

  it "gives way to IO_EVENT_SELECTOR, which can also name our selector" do
    lines = ['require "uring_io/async"', 'require "async"', "show"]
    expect(written_by(*lines, env: { "IO_EVENT_SELECTOR" => "EPoll" })).to eq(io_event)
    expect(written_by(*lines, env: { "IO_EVENT_SELECTOR" => "Select" })).to eq("IO::Event::Selector::Select\n")
    expect(written_by(*lines, env: { "IO_EVENT_SELECTOR" => "UringIO" })).to eq(own)
  end

  it "wraps selectors in checks with URING_IO_CHECKED=1, also within io-event's own debugging" do
    lines = ['require "uring_io/async"', 'require "async"', "show", "Sync { |task| task.async { sleep(0.001) }.wait }"]
    checked = "UringIO::Selector::Checked\n"
    expect(written_by(*lines, env: { "URING_IO_CHECKED" => "1" })).to eq(checked)
    expect(written_by(*lines, env: { "URING_IO_CHECKED" => "1", "IO_EVENT_SELECTOR" => "UringIO" })).to eq(checked)
    expect(written_by(*lines, env: { "URING_IO_CHECKED" => "1", "IO_EVENT_DEBUG_SELECTOR" => "1" }))
      .to eq("IO::Event::Debug::Selector\n")
  end

  it "falls back when io_uring is forbidden, and raises when the program names it" do
    skip Seccomp.missing if Seccomp.missing
    lines = [Seccomp.denying_io_uring(Errno::EPERM::Errno), 'require "uring_io/async"', 'require "async"',
             "Sync { print Fiber.scheduler.instance_variable_get(:@selector).backend, \"\n\" }"]
    expect(written_by(*lines, env: { "URING_IO_BACKEND" => nil })).to eq("epoll\n")
    failing = child(lines.join("\n"), env: { "URING_IO_BACKEND" => "io_uring" })
    expect(failing.stderr).to include("UringIO::UnsupportedError")
    expect(failing.status.exitstatus).to eq(1)
  end

  it "raises LoadError without io-event, and says how to install it" do
    lines = ["begin", 'require "uring_io/async"', "rescue LoadError => error", "print error.message", "end"]
    said = written_by(*lines, env: { "RUBYOPT" => "--disable-gems" })
    expect(said).to include("needs io-event 1.21 or newer").and include("gem install async").and include("Gemfile")
  end

  it "raises UringIO::Error for an io-event that is too old, before loading it" do
    Dir.mktmpdir("uring_io-io-event") do |folder|
      FileUtils.mkdir_p(File.join(folder, "io/event"))
      version = "class IO\n  module Event\n    VERSION = \"1.9.30\"\n  end\nend\n"
      File.write(File.join(folder, "io/event/version.rb"), version)
      File.write(File.join(folder, "io/event.rb"), "abort \"must not be loaded\"\n")
      lines = ["$LOAD_PATH.unshift(#{folder.dump})", "begin", 'require "uring_io/async"',
               "rescue UringIO::Error => error", "print error.message", "end"]
      said = written_by(*lines)
      expect(said).to include("needs io-event 1.21 or newer, and this is 1.9.30").and include("bundle update")
    end
  end

  it "passes on io-event's own LoadError" do
    Dir.mktmpdir("uring_io-io-event") do |folder|
      FileUtils.mkdir_p(File.join(folder, "io"))
      File.write(File.join(folder, "io/event.rb"), "require \"no/such/part\"\n")
      lines = ["$LOAD_PATH.unshift(#{folder.dump})", "begin", 'require "uring_io/async"', "rescue LoadError => error",
               "print error.path", "end"]
      expect(written_by(*lines)).to eq("no/such/part")
    end
  end

  { "Forked" => "processes", "Threaded" => "threads" }.each do |kind, what|
    it "works for the #{what} of async-container, which Falcon uses" do
      skip "the gem async-container is not installed" if Gem::Specification.find_all_by_name("async-container").empty?
      lines = ['require "uring_io/async"', 'require "async"', 'require "async/container"',
               "container = Async::Container::#{kind}.new",
               "container.run(count: 2) { |instance| show; instance.ready! }", "container.wait"]
      expect(written_by(*lines, env: { "CONSOLE_LEVEL" => "fatal" })).to eq(own * 2)
    end
  end
end
