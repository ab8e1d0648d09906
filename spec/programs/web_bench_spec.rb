# frozen_string_literal: true

require "json"
require_relative "../support/postgresql"

# Checks that bench/rails/run does what bench/README.md says, and ignores the numbers that it measures.
RSpec.describe "bench/rails/run" do
  before do
    skip "for the process that runs on io_uring and epoll" unless Backends::CHOSEN == %i[io_uring epoll]
    skip Backends.missing(:io_uring) if Backends.missing(:io_uring)
    skip PostgreSQL.missing if PostgreSQL.missing
  end

  it "measures a Rails app on Puma and on Async's server with io-event's selector and ours", limit: 300 do
    file = free_path("results.json")
    script = File.expand_path("../../bench/rails/run", __dir__)
    result = child("exec(RbConfig.ruby, *ARGV)", script, "--rounds", 1, "--seconds", 2, "--connections", 4,
                   "--json", file, "two_urls", limit: 280)
    expect(result).to have_attributes(stderr: "", status: be_success)
    found = JSON.parse(File.read(file), symbolize_names: true)
    expect(found).to include(runs: 1, seconds: 2, baseline: "puma")
    expect(found[:workloads]).to match([include(name: "rails-two_urls-4", unit: "requests", connections: 4)])
    expect(found[:results].map { |row| row[:target] }).to eq(%w[puma async uring_io uring_io-epoll])
    expect(found[:results]).to all(include(note: nil).or(include(note: "spread larger than the difference")))
    found[:results].each do |row|
      expect(row.values_at(:median, :p50_us, :p99_us, :cpu_s_per_mop, :peak_kb)).to all(be_positive)
      expect(row[:syscalls_per_op]).to SystemCalls.missing ? be_nil : be_positive
    end
  end
end
