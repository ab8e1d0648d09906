# frozen_string_literal: true

require "json"
require "rbconfig"

# Helpers for examples about `uring_io profile`, which run it in a process of its own.
module Profiles
  EXECUTABLE = File.expand_path("../../exe/uring_io", __dir__)

  # Runs exe/uring_io profile with these arguments.
  def profile(*arguments, executable: EXECUTABLE, **, &)
    child("exec(RbConfig.ruby, \"-W1\", #{executable.dump}, \"profile\", *ARGV)", *arguments, **, &)
  end

  # The profile of a Ruby that runs this script.
  def recorded(script, *arguments, options: [], limit: 50, **)
    command = [RbConfig.ruby, "-I", ChildProgram::LIB, "-e", script, *arguments]
    result = profile("--json", *options, "--", *command, limit:, **)
    expect(result.status.exitstatus).to eq(0), result.stderr
    JSON.parse(result.stdout, symbolize_names: true)
  end

  # The seconds of all rows of a kind whose peers match the pattern.
  def seconds(found, kind, peer = nil)
    rows = found[:shares][:rows].select { |row| row[:kind] == kind && (peer.nil? || row[:peer]&.match?(peer)) }
    rows.sum { |row| row[:seconds] }
  end

  # The seconds in which the program did not have to wait for a processor.
  def undisturbed(found) = found[:shares][:total] - seconds(found, "runnable")

  def expect_mostly(found, kind, peer = nil)
    expect(seconds(found, kind, peer)).to be > undisturbed(found) / 2, JSON.pretty_generate(found[:shares])
  end

  # The verdict as it would be on an otherwise idle machine.
  def undisturbed_verdict(found)
    processes = found[:processes].map { |process| process.merge(runnable: 0.0) }
    UringIO::Profile.new(found.merge(processes:)).verdict
  end

  # The counts that the agents took inside of the processes.
  def agents(found) = found[:processes].filter_map { |process| process[:agent] }

  def expect_sums(found)
    found[:processes].each do |process|
      sum = process.values_at(:computing, :gc, :system, :runnable).sum + process[:waits].sum { |wait| wait[:seconds] }
      expect(sum).to be_within(process[:seconds] * 0.05).of(process[:seconds])
      process[:threads].each do |thread|
        sum = thread[:ran] + thread[:runnable] + thread[:waits].sum { |wait| wait[:seconds] }
        expect(sum).to be_within(thread[:seconds] * 0.05).of(thread[:seconds])
      end
    end
  end
end

RSpec.configure { |config| config.include Profiles, :profiles }
