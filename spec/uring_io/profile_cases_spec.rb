# frozen_string_literal: true

require "uring_io/profile"
require_relative "../support/postgresql"
require_relative "../support/profiles"

# Checks the profiler's verdict on each program of examples/profile.
RSpec.describe UringIO::Profile, "of the six cases", :profiles, limit: 90 do
  missing = PostgreSQL.missing
  folder = File.expand_path("../../examples/profile", __dir__)
  executable = File.expand_path("../../exe/uring_io", __dir__)

  # The profiler's findings about an example.
  define_method(:profile) do |name, *arguments|
    result = child("exec(RbConfig.ruby, #{executable.dump}, \"profile\", \"--json\", \"--\", RbConfig.ruby, *ARGV)",
                   File.join(folder, name), *arguments, env: { "RUBYLIB" => File.expand_path("../../lib", __dir__) },
                                                        limit: 60)
    expect(result.status.exitstatus).to eq(0), result.stderr
    JSON.parse(result.stdout, symbolize_names: true)
  end

  # The largest row, without the share that a busy machine adds.
  def largest(found)
    found[:shares][:rows].reject { |row| row[:kind] == "runnable" }.max_by { |row| row[:seconds] }
  end

  it "says that a slow query waits for PostgreSQL, one query after the other", skip: missing do
    postgresql = PostgreSQL.new
    found = profile("slow_query.rb", postgresql.parameters[:host])
    expect(largest(found)).to include(kind: "socket", peer: /\Apostgresql at /)
    expect(found[:shares][:rows].sum { |row| row[:serial] }).to be > 0.8
    expect(profile("slow_query.rb", "--fibers", postgresql.parameters[:host])[:processes].size).to eq(1)
  ensure
    postgresql&.stop
  end

  it "says that an N+1 waits for PostgreSQL, and that io_uring cannot help", skip: missing do
    postgresql = PostgreSQL.new
    found = profile("many_queries.rb", postgresql.parameters[:host])
    expect(largest(found)).to include(kind: "socket", peer: /\Apostgresql at /)
    expect(found[:verdict][:io_uring_at_most]).to be < 0.2
  ensure
    postgresql&.stop
  end

  it "says that a renderer computes" do
    found = profile("renderer.rb")
    expect(largest(found)).to include(kind: "computing")
    expect(found[:verdict][:worth_it]).to be(false)
  end

  it "says that a pool of threads fights for the GVL" do
    found = profile("thread_pool.rb")
    expect(found[:shares][:contention]).to be > found[:seconds]
    expect(found[:verdict]).to include(kind: "gvl", worth_it: false)
  end

  it "says that a log shipper waits for the disk" do
    Dir.mktmpdir do |logs|
      found = profile("log_shipper.rb", logs)
      # In a folder in memory, fsync(2) waits for nothing.
      skip "#{Dir.tmpdir} is not on a disk" if found[:shares][:rows].none? { |row| row[:kind] == "file" }
      expect(found[:shares][:rows].find { |row| row[:kind] == "file" }[:serial]).to be > 0
      profile("log_shipper.rb", "--fibers", logs)
      expect(Dir.glob("#{logs}/*.log").map { |log| File.foreach(log).count }).to eq([120] * 8)
    end
  end

  it "says that an echo server is busy with system calls" do
    clients = nil
    script = "exec(RbConfig.ruby, #{executable.dump}, \"profile\", \"--json\", \"--\", RbConfig.ruby, *ARGV)"
    env = { "RUBYLIB" => File.expand_path("../../lib", __dir__), "URING_IO_BACKEND" => "epoll" }
    result = child(script, File.join(folder, "echo_server.rb"), env:, limit: 60) do |program|
      clients = child("load ARGV.shift", File.join(folder, "echo_clients.rb"), program_port(program), 2000, limit: 60)
    end
    found = JSON.parse(result.stdout, symbolize_names: true)
    expect(clients.stdout).to match(/\A\d+\n\z/)
    expect(found[:shares][:rows].find { |row| row[:kind] == "system" }[:seconds]).to be > 0
    expect(found[:verdict][:io_uring_at_most]).to be >= found[:verdict][:io_uring_likely]
  end

  # With --json the command's output goes to standard error, which a spec cannot read line by line.
  def program_port(program)
    port = nil
    eventually { port = listening_port(program.pid) }
    port
  end

  def listening_port(pid)
    children = File.read("/proc/#{pid}/task/#{pid}/children").split
    inodes = children.flat_map { |child| Dir.glob("/proc/#{child}/fd/*").map { |fd| File.readlink(fd)[/\d+/] } }
    line = File.foreach("/proc/net/tcp").map(&:split).find { |words| words[3] == "0A" && inodes.include?(words[9]) }
    line && line[1][/\h+\z/].hex
  rescue SystemCallError
    nil
  end
end
