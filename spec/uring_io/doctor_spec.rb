# frozen_string_literal: true

require "etc"
require "fileutils"
require "json"
require "pty"
require "uring_io/doctor"

RSpec.describe UringIO::Doctor do
  let(:executable) { File.expand_path("../../exe/uring_io", __dir__) }
  let(:works) { UringIO::Support.detect.available?(:io_uring) }

  # Runs exe/uring_io by itself, as a user does, without the path of lib. The script +before+ runs first.
  def uring_io(*arguments, before: "", env: {})
    env = { "URING_IO_BACKEND" => nil, "RUBYLIB" => nil }.merge(env)
    child("#{before}\nexec(RbConfig.ruby, \"-W1\", #{executable.dump}, *ARGV)", *arguments, env:)
  end

  def report(...)
    result = uring_io("doctor", "--json", ...)
    expect(result.stderr).to eq("")
    JSON.parse(result.stdout, symbolize_names: true).merge(exit: result.status.exitstatus)
  end

  # Expects that the plain text, the JSON and the exit status all name the cause.
  def expect_epoll_because(reason, cause, cure, **options)
    plain = uring_io("doctor", **options)
    text = plain.stdout.gsub(/\s+/, " ")
    expect(plain.stderr).to eq("")
    expect(text).to start_with("A program runs on epoll: io_uring is not available (#{reason}).")
    expect(text).to match(cause).and include(cure)
    expect(plain.status.exitstatus).to eq(1)

    found = report(**options)
    expect(found).to include(exit: 1)
    expect(found[:default]).to include(backend: "epoll", io_uring: false, error: nil)
    expect(found[:backends][:io_uring]).to include(available: false, reason: reason.to_s, cause: match(cause))
    expect(found[:backends][:io_uring][:cures].map { |line| line[:line] }.join("\n").gsub(/\s+/, " ")).to include(cure)
    expect(found[:backends][:epoll]).to eq(available: true, cures: [])
  end

  it "prints the backend that a program would get, all backends, Ruby and the limits" do
    result = uring_io("doctor")
    expect(result.stderr).to eq("")
    expect(result.stdout).to match(/\AA program runs on #{UringIO.support.best}/)
    expect(result.stdout).to include(UringIO::VERSION, RUBY_VERSION, RUBY_PLATFORM, UringIO.support.kernel[:release])
    UringIO.support.backends.values_at(*Backends::ALL).each do |backend|
      expect(result.stdout).to match(/^  #{backend.name} +#{'not ' unless backend.available?}available/)
    end
    expect(result.stdout).not_to include("kqueue") # a backend of other systems
    expect(result.stdout).to match(/^  open files +#{Process.getrlimit(:NOFILE).first}\b/)
    expect(result.stdout).to match(/^  locked memory +\S/).and match(/^  CPUs +\d+$/)
    expect(result.stdout.lines).to all(satisfy { |line| line == line.rstrip.concat("\n") })
    expect(result.status.exitstatus).to eq(works ? 0 : 1)
  end

  it "prints all of it as one JSON document with --json" do
    found = report
    expect(found.keys).to eq(%i[uring_io ruby default kernel backends operations denied features setup_flags limits
                                hints exit])
    expect(found[:uring_io]).to eq(version: UringIO::VERSION, path: ChildProgram::LIB)
    expect(found[:ruby]).to include(version: RUBY_VERSION, platform: RUBY_PLATFORM,
                                    hook_order: described_class.hook_order)
    expect(found[:default]).to include(backend: UringIO.support.best.to_s, io_uring: works, asked_for: nil, error: nil)
    expect(found[:backends].keys).to eq(UringIO.support.backends.keys)
    expect(found).to include(**UringIO::Support.detect.to_h.slice(:operations, :features, :setup_flags, :limits))
    expect(found[:exit]).to eq(works ? 0 : 1)
  end

  it "names the order in which the running Ruby passes length and offset" do
    expect(described_class.hook_order).to eq(Contract::NUMBERS)
    expect(uring_io("doctor").stdout).to include("(io, buffer, #{Contract::NUMBERS})")
    stub_const("IO::Buffer::VERSION", 3)
    expect(described_class.hook_order).to eq("offset, length")
    stub_const("IO::Buffer::VERSION", 2)
    expect(described_class.hook_order).to eq("length, offset")
  end

  describe "where io_uring is forbidden" do
    %i[EPERM ENOSYS].each do |errno|
      it "names a seccomp filter that returns #{errno}" do
        skip Seccomp.missing if Seccomp.missing

        filter = Seccomp.denying_io_uring(Errno.const_get(errno)::Errno)
        expect_epoll_because(:seccomp, /seccomp filter on this process denies io_uring_setup/,
                             "--security-opt seccomp=", before: filter)
        expect(uring_io("doctor", before: filter).stdout).to include("io_uring_setup gives #{errno}")
      end
    end

    # The setting affects the whole machine, so the script loads the program first and keeps the setting short.
    it "names kernel.io_uring_disabled=2" do
      path = "/proc/sys/kernel/io_uring_disabled"
      skip "only root may set kernel.io_uring_disabled" unless Process.euid.zero?
      skip "kernel.io_uring_disabled cannot be set here" unless File.exist?(path) && File.writable?(path)

      result = child(<<~RUBY, path, executable, env: { "URING_IO_BACKEND" => nil })
        require "stringio"
        require "uring_io/command_line"
        require "uring_io/doctor"
        path, executable = ARGV
        run = lambda do |*arguments|
          ARGV.replace(arguments)
          load executable
        rescue SystemExit => error
          error.status
        end
        File.open(executable) do |lock| # another run would take the 2 for the value to restore
          lock.flock(File::LOCK_EX)
          before = File.read(path)
          statuses = begin
            $stdout = StringIO.new
            File.write(path, "2")
            [run.call("doctor"), run.call("doctor", "--json")]
          rescue SystemCallError
            nil
          ensure
            File.write(path, before)
          end
          text, $stdout = $stdout.string, STDOUT
          puts File.read(path) == before ? "restored" : "not restored", statuses.inspect, text
        end
      RUBY
      restored, statuses, *lines = result.stdout.lines(chomp: true)
      expect(restored).to eq("restored")
      skip "kernel.io_uring_disabled cannot be set here" if statuses == "nil"

      expect(result.stderr).to eq("")
      expect(statuses).to eq("[1, 1]")
      text, json = lines.join("\n").split(/^(?=\{)/, 2)
      expect(text).to start_with("A program runs on epoll: io_uring is not available (sysctl).")
      expect(text).to include("kernel.io_uring_disabled is 2", "sudo sysctl -w kernel.io_uring_disabled=0")
      found = JSON.parse(json, symbolize_names: true)
      expect(found[:default]).to include(backend: "epoll", io_uring: false)
      expect(found[:backends][:io_uring]).to include(reason: "sysctl", call: "io_uring_setup", errno: 1)
    end

    it "names RLIMIT_MEMLOCK of 0 for an ordinary user" do
      before = <<~RUBY
        require "etc"
        Process.setrlimit(:MEMLOCK, 0, 0)
        if Process.euid.zero?
          nobody = Etc.getpwnam("nobody")
          Process.groups = [nobody.gid]
          Process::Sys.setgid(nobody.gid)
          Process::Sys.setuid(nobody.uid)
        end
        readable = [RbConfig.ruby, #{executable.dump}, $LOADED_FEATURES.grep(/uring_io/).last].all? { |path| File.readable?(path) }
        readable or abort "nobody may not read this checkout"
      RUBY
      result = uring_io("doctor", "--json", before:)
      skip result.stderr.chomp if result.stderr.include?("may not read")

      found = JSON.parse(result.stdout, symbolize_names: true)
      expect(found[:limits]).to include(memlock_soft: 0, memlock_hard: 0)
      expect(result.status.exitstatus).to eq(found[:backends][:io_uring][:available] ? 0 : 1)
      skip "Linux #{found[:kernel][:release]} charges no ring" if found[:backends][:io_uring][:available]
      skip Backends.missing(:io_uring) unless works

      expect_epoll_because(:memlock, /RLIMIT_MEMLOCK, 0 KiB/, "sudo prlimit --pid $$ --memlock=8388608", before:)
    end
  end

  describe "with URING_IO_BACKEND" do
    it "says that the variable forces a backend, and how to undo that" do
      env = { "URING_IO_BACKEND" => "poll" }
      result = uring_io("doctor", env:)
      expect(result.stdout).to start_with("A program runs on poll: URING_IO_BACKEND=poll asks for it.\n")
      expect(result.stdout).to include("shell    unset URING_IO_BACKEND\n")
      expect(result.status.exitstatus).to eq(1)
      expect(report(env:)[:default]).to include(backend: "poll", io_uring: false, asked_for: "poll")
    end

    it "exits 0 when the variable forces io_uring and io_uring works" do
      skip Backends.missing(:io_uring) unless works

      result = uring_io("doctor", env: { "URING_IO_BACKEND" => "io_uring" })
      expect(result.stdout).to start_with("A program runs on io_uring: URING_IO_BACKEND=io_uring asks for it.\n")
      expect(result.stdout).not_to include("unset")
      expect(result.status.exitstatus).to eq(0)
    end

    it "says that a program fails when the variable is no name of a backend, whatever its bytes" do
      ["bogus", "\e[31m", "\xff", "I\u00f6"].each do |name|
        env = { "URING_IO_BACKEND" => name, "LC_ALL" => "C" }
        result = uring_io("doctor", env:)
        expect(result.stderr).to eq("")
        expect(result.stdout).to start_with("A program gets no scheduler: URING_IO_BACKEND")
        expect(result.stdout).not_to include("\e")
        expect(result.status.exitstatus).to eq(1)
        found = report(env:)
        expect(found[:default]).to include(backend: nil, io_uring: false, error: include(:class, :message))
        expect(found).to include(exit: 1)
      end
    end

    it "says that a program fails when the variable names a backend that does not work, and why" do
      skip Seccomp.missing if Seccomp.missing

      result = uring_io("doctor", before: Seccomp.denying_io_uring(Errno::EPERM::Errno),
                                  env: { "URING_IO_BACKEND" => "io_uring" })
      expect(result.stdout).to start_with("A program gets no scheduler: URING_IO_BACKEND=io_uring asks for a backend " \
                                          "that does not work here.\n")
      expect(result.stdout).to include("unset URING_IO_BACKEND", "not available (seccomp)")
      expect(result.status.exitstatus).to eq(1)
    end

    it "treats an empty variable as unset" do
      expect(report(env: { "URING_IO_BACKEND" => "" })[:default]).to include(asked_for: nil, io_uring: works)
    end
  end

  describe "limits" do
    it "gives a hint and commands when the limit of open files is low" do
      before = "Process.setrlimit(:NOFILE, 64, 64)\n"
      result = uring_io("doctor", before:)
      expect(result.stdout).to match(/open files +64\n +Small\./)
      expect(result.stdout).to include("LimitNOFILE=65536", "--ulimit nofile=65536")
      expect(report(before:)[:hints]).to include(include(limit: "open_files", cures: include(include(:where, :line))))
    end

    it "advises ulimit only where the hard limit allows it" do
      own = "ulimit -S -n 65536"
      { 4096 => "sudo prlimit --pid $$ --nofile=65536", 65_536 => own, nil => own }.each do |hard, line|
        hint = doctor_of(limits: { open_files_soft: 1024, open_files_hard: hard }).hints.first
        expect(hint.cures.first).to have_attributes(where: "shell", line:)
      end
    end

    it "prints unlimited, and no hint, when there is no limit" do
      doctor = doctor_of(limits: { open_files_soft: nil, open_files_hard: nil, memlock_soft: nil, memlock_hard: nil })
      expect(doctor.to_s).to match(/open files +unlimited\n  locked memory +unlimited\n/)
      expect(doctor.hints).to be_empty
    end

    it "mentions when there is only one CPU" do
      expect(doctor_of(limits: { cpus: 1 }).to_s).to match(/CPUs +1\n +Small\./)
    end
  end

  describe "of another machine" do
    it "counts the kernel's missing io_uring operations, and names them with the Linux version that has them" do
      doctor = doctor_of(operations: { nop: true, recv_zc: false, waitid: false, futex_wait: false, to_come: false },
                         features: { fast_poll: true, no_iowait: false },
                         setup_flags: { submit_all: true, coop_taskrun: true, defer_taskrun: false })
      text = doctor.to_s.gsub(/\n {4,}/, " ")
      expect(text).to match(/operations +1 of 5 Missing: waitid, futex_wait \(Linux 6\.7\); recv_zc \(Linux 6\.15\); t/)
      expect(text).to match(/features +1 of 2 Missing: no_iowait \(Linux 6\.15\)\.$/)
      expect(text).to match(/setup flags +submit_all, coop_taskrun Missing: defer_taskrun \(Linux 6\.1\)\.$/)
    end

    it "does not report a flag as missing when a better one replaces it" do
      doctor = doctor_of(setup_flags: { coop_taskrun: false, defer_taskrun: true })
      expect(doctor.to_s).to match(/setup flags +defer_taskrun$/)
    end

    it "says when a scheduler fell back even though io_uring works" do
      doctor = doctor_of(outcome: described_class::Outcome.new(backend: :epoll, error: nil))
      expect(doctor.to_s).to start_with("A program runs on epoll, although io_uring is available.")
      expect(doctor.status).to eq(1)
    end

    it "prints the error when no scheduler works at all" do
      doctor = doctor_of(outcome: described_class::Outcome.new(backend: nil, error: Errno::EMFILE.new("epoll_create1")))
      expect(doctor.to_s).to start_with("A program gets no scheduler: Too many open files")
      expect(doctor.to_h[:default]).to include(error: include(class: "Errno::EMFILE"))
    end

    it "wraps long texts, but keeps commands in one line for copying" do
      backend = { available: false, reason: :seccomp, call: "io_uring_enter", errno: 1, cause: "Long words. " * 40,
                  remedy: "x" * 150 }
      doctor = doctor_of(backends: { io_uring: backend, epoll: { available: true } },
                         outcome: described_class::Outcome.new(backend: :epoll, error: nil))
      doctor.cures(:io_uring).each { |cure| expect(doctor.to_s).to include(*cure.line.lines(chomp: true)) }
      prose = doctor.to_s.lines(chomp: true).grep(/Long words/)
      expect(prose.size).to be > 1
      expect(prose.map(&:size)).to all(be <= 100)
    end
  end

  def doctor_of(outcome: described_class::Outcome.new(backend: :io_uring, error: nil), **differences)
    described_class.new(support: support_of(**differences), outcome:)
  end

  # A machine that has everything except for the differences.
  def support_of(limits: {}, **differences)
    UringIO::Support.new(
      kernel: { name: "Linux", release: "6.18.0", version: [6, 18, 0], machine: "x86_64" },
      backends: { io_uring: { available: true }, epoll: { available: true } },
      operations: { nop: true }, denied: [], features: { fast_poll: true }, setup_flags: { submit_all: true },
      limits: { open_files_soft: 65_536, open_files_hard: 65_536, memlock_soft: 8 << 20, memlock_hard: 8 << 20, cpus: 2,
                **limits },
      **differences
    )
  end

  describe "colours" do
    # The output of the program on a terminal.
    def on_terminal(env)
      terminal, program = PTY.open
      pid = Process.spawn({ "URING_IO_BACKEND" => nil, "NO_COLOR" => nil, "TERM" => "xterm" }.merge(env),
                          RbConfig.ruby, executable, "doctor", in: File::NULL, out: program)
      program.close
      text = +""
      begin
        loop { text << terminal.readpartial(4096) }
      rescue EOFError, Errno::EIO
        text
      end
    ensure
      Process.wait(pid) if pid
      terminal&.close
    end

    it "appear on terminals" do
      expect(on_terminal({})).to match(/\A\e\[\d+mA program runs on/)
    end

    it "do not appear with NO_COLOR, on a dumb terminal, or in a pipe" do
      texts = [on_terminal("NO_COLOR" => "1"), on_terminal("TERM" => "dumb"),
               uring_io("doctor", env: { "TERM" => "xterm", "NO_COLOR" => nil }).stdout]
      expect(texts).to all(start_with("A program runs on").and(satisfy { |text| !text.include?("\e") }))
    end

    it "never appear in JSON" do
      expect(uring_io("doctor", "--json").stdout).not_to include("\e")
    end
  end
end

RSpec.describe "exe/uring_io" do
  def uring_io(*arguments, lib: nil)
    executable = File.expand_path("#{lib || ChildProgram::LIB}/../exe/uring_io")
    child("exec(RbConfig.ruby, #{executable.dump}, *ARGV)", *arguments, env: { "RUBYLIB" => nil })
  end

  it "prints the version" do
    %w[version --version -v].each do |argument|
      expect(uring_io(argument)).to have_attributes(stdout: "#{UringIO::VERSION}\n", stderr: "", status: be_success)
    end
  end

  it "prints the usage on demand" do
    [["help"], ["--help"], ["-h"], %w[doctor --help], %w[doctor --json -h]].each do |arguments|
      result = uring_io(*arguments)
      expect(result).to have_attributes(stdout: /\AUsage: uring_io COMMAND.*doctor.*version/m, stderr: "")
      expect(result.status).to be_success
    end
  end

  it "exits 2 on wrong usage, and says on standard error what is wrong and what would be right" do
    wrong = { %w[doctor --jsn] => "--jsn", %w[doctor --js] => "--js", %w[doctor more] => "more", %w[version x] => "x",
              %w[profile] => "profile", [] => "missing", %w[doctor --json=1] => "--json=1", ["\e[31m"] => "e[31m" }
    wrong.each do |arguments, word|
      result = uring_io(*arguments)
      expect(result).to have_attributes(stdout: "", stderr: /\Auring_io: .*#{Regexp.escape(word)}.*\nUsage: /)
      expect(result.stderr).not_to include("\e")
      expect(result.status.exitstatus).to eq(2)
    end
  end

  it "exits 2 and says how to compile the extension when it is missing, but still prints its version" do
    lib = File.join(File.dirname(free_path), "lib")
    FileUtils.mkdir_p([lib, "#{lib}/../exe"])
    FileUtils.cp(File.expand_path("../exe/uring_io", ChildProgram::LIB), "#{lib}/../exe")
    sources = Dir.glob("**/*.rb", base: ChildProgram::LIB)
    sources.each do |path|
      FileUtils.mkdir_p(File.dirname("#{lib}/#{path}"))
      FileUtils.cp("#{ChildProgram::LIB}/#{path}", "#{lib}/#{path}")
    end
    result = uring_io("doctor", lib:)
    expect(result).to have_attributes(stdout: "", stderr: /\Auring_io: .*rake compile/m)
    expect(result.stderr).not_to include("Usage")
    expect(result.status.exitstatus).to eq(2)
    expect(uring_io("version", lib:)).to have_attributes(stdout: "#{UringIO::VERSION}\n", status: be_success)
  end

  it "exits 0 when the reader of its output closes early" do
    result = child(<<~'RUBY', File.expand_path("../exe/uring_io", ChildProgram::LIB))
      IO.popen([RbConfig.ruby, ARGV[0], "help"]) { |program| program.readpartial(1) }
      p $?.exitstatus
    RUBY
    expect(result).to have_attributes(stdout: "0\n", stderr: "")
  end

  { "closed" => ["out: :close", /Broken pipe|Bad file/],
    "a pipe that nobody reads" => ["out: IO.pipe.tap { |reader, _| reader.close }.last", /Broken pipe/],
    "a full device" => ['out: "/dev/full"', /No space left on device/] }.each do |what, (to, cause)|
    it "exits 74 when standard output is #{what}, and says why if it has a standard error" do
      skip "there is no /dev/full" if to.include?("/dev/full") && !File.exist?("/dev/full")

      result = child(<<~RUBY, File.expand_path("../exe/uring_io", ChildProgram::LIB))
        [%w[doctor], %w[doctor --json], %w[version], %w[help]].each do |arguments|
          [{}, { err: :close }].each do |more|
            Process.wait(spawn(RbConfig.ruby, ARGV[0], *arguments, **more, #{to}))
            p $?.exitstatus
          end
        end
      RUBY
      expect(result.stdout.lines(chomp: true)).to eq(["74"] * 8)
      expect(result.stderr.lines.size).to eq(4)
      expect(result.stderr.lines).to all(start_with("uring_io: standard output cannot be written: ").and(match(cause)))
    end
  end
end
