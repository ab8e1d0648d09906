# frozen_string_literal: true

# Runs a part of the suite with the garbage collector at its worst (support/collector.rb). That takes long, so only the
# process that has these two backends does it.
RSpec.describe "specs under the garbage collector" do
  files = %w[
    ring/batch ring/chain ring/streams ring/vectors_and_buffers
    scheduler/block scheduler/fiber scheduler/fiber_interrupt scheduler/io_read
    selector/garbage_collection selector/raise
  ].map { |name| File.expand_path("uring_io/#{name}_spec.rb", __dir__) }

  { "minor" => "runs at every allocation", "compact" => "moves what it can" }.each do |mode, what|
    it "pass while it #{what}", limit: 240 do
      skip "for the process that runs on io_uring and epoll" unless Backends::CHOSEN == %i[io_uring epoll]
      skip Backends.missing(:io_uring) if Backends.missing(:io_uring)
      skip "this Ruby does not compact" if mode == "compact" && !GC.respond_to?(:compact)

      env = { "URING_IO_SPEC_GC" => mode, "URING_IO_SPEC_GC_SECONDS" => "0.05" }
      result = child('exec(RbConfig.ruby, "-S", "rspec", *ARGV)', "--no-color", *files, env:, limit: 220)
      expect(result.stdout).to match(/^\d+ examples, 0 failures/)
      expect(result.status).to be_success
    end
  end
end
