# frozen_string_literal: true

require "json"

RSpec.describe UringIO, ".support" do
  subject(:support) { described_class.support }

  it "lists every backend, best first, and says whether it works" do
    expect(support.backends.keys).to eq(%i[io_uring epoll kqueue poll select])
    expect(support.backends.values.map(&:available?)).to all(be(true).or(be(false)))
    expect(support.available?(:poll)).to be(true)
    expect(support.best).to eq(support.backends.values.find(&:available?).name)
  end

  it "gives the reason, the failed call and a remedy for each unavailable backend only" do
    support.backends.each_value do |backend|
      texts = [backend.reason, backend.call, backend.errno, backend.cause, backend.remedy]
      expect(texts).to(backend.available? ? all(be_nil) : all(be_truthy))
      expect(support.reason(backend.name)).to eq(backend.reason)
    end
  end

  it "agrees with Scheduler.new" do
    support.backends.each_value do |backend|
      error = raised { in_thread { UringIO::Scheduler.new(backend: backend.name).close } }
      expect(error).to(backend.available? ? be_nil : be_a(UringIO::UnsupportedError))
    end
  end

  it "reports the kernel, and the operations and features of io_uring" do
    expect(support.kernel[:name]).to eq("Linux")
    expect(support.kernel[:version]).to match([Integer, Integer, Integer])
    skip Backends.missing(:io_uring) if Backends.missing(:io_uring)

    expect(support.operations).to include(nop: true, read: true, write: true)
    expect(support.features.values).to include(true)
    expect(support.setup_flags).not_to be_empty
  end

  it "reports the same limits as Ruby" do
    soft, hard = Process.getrlimit(:NOFILE)
    expect(UringIO::Support.detect.limits).to include(open_files_soft: soft, open_files_hard: hard)
    expect(support.limits[:cpus]).to be >= 1
  end

  it "returns plain values that fit JSON, and a line for each backend" do
    hash = support.to_h
    expect(JSON.parse(JSON.generate(hash), symbolize_names: true)[:backends].keys).to eq(support.backends.keys)
    expect(support.to_s.lines.size).to eq(1 + support.backends.size)
    expect(support.inspect).to include(support.best.to_s)
  end

  it "detects once; Support.detect detects again" do
    expect(described_class.support).to be(described_class.support)
    expect(UringIO::Support.detect).not_to be(described_class.support)
    expect(support).to be_frozen
  end

  it "knows the backends of other systems, and says that they belong there" do
    expect(support.reason(:kqueue)).to eq(:platform)
    expect(support.backends[:kqueue].cause).to eq("kqueue is a call of macOS and BSD; this is Linux.")
  end

  it "refuses unknown names of backends" do
    expect { support.available?(:devpoll) }.to raise_error(ArgumentError, /devpoll/)
    expect { support.reason(nil) }.to raise_error(ArgumentError)
  end

  describe "where a seccomp filter denies io_uring" do
    before { skip Seccomp.missing if Seccomp.missing }

    %i[EPERM ENOSYS].each do |errno|
      it "names seccomp for #{errno}, and the same program runs on epoll" do
        program = <<~RUBY
          require "socket"
          support = UringIO.support
          puts support.best, support.available?(:io_uring), support.reason(:io_uring).inspect
          puts support.backends[:io_uring].call, support.backends[:io_uring].errno
          UringIO.run do |scheduler|
            puts scheduler.backend
            input, output = UNIXSocket.pair
            Fiber.schedule { puts input.gets }
            puts "writes"
            output.puts "received"
          end
          begin
            UringIO::Scheduler.new(backend: :io_uring)
          rescue UringIO::UnsupportedError => error
            puts error.message
          end
        RUBY
        number = Errno.const_get(errno)::Errno
        result = child(Seccomp.denying_io_uring(number) + program)
        expect(result.stderr).to eq("")
        lines = result.stdout.lines(chomp: true)
        expect(lines.first(5)).to eq(["epoll", "false", ":seccomp", "io_uring_setup", number.to_s])
        expect(lines[5, 3]).to eq(%w[epoll writes received])
        expect(lines[8]).to match(/io_uring.*seccomp/i)
        expect(result.status).to be_success
      end
    end

    it "does not use io_uring at all when a filter denies one of its calls" do
      %w[io_uring_setup io_uring_enter io_uring_register].zip(Seccomp::CALLS) do |name, number|
        result = child(<<~RUBY)
          #{Seccomp.denying_io_uring(Errno::EPERM::Errno, number..number)}
          puts UringIO.run(&:backend), UringIO::Ring.new.backend, UringIO.support.backends[:io_uring].call
          begin
            UringIO::Ring.new(backend: :io_uring)
          rescue UringIO::UnsupportedError => error
            puts error.message
          end
        RUBY
        expect(result.stderr).to eq("")
        expect(result.stdout.lines(chomp: true)).to match(["epoll", "epoll", name, /seccomp filter .* #{name}/])
      end
    end

    it "changes nothing for a program without the filter" do
      result = child("puts UringIO.support.best")
      expect(result.stdout).to eq("#{UringIO::Support.detect.best}\n")
    end
  end
end
