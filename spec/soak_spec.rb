# frozen_string_literal: true

# Runs the short form of bin/soak. It is long for a suite, so only the process that has these two backends runs it.
RSpec.describe "soak" do
  let(:run) { File.expand_path("../soak/run.rb", __dir__) }
  # The seconds of a case, or fewer when all cases together would take too long. They run on both backends at once.
  let(:seconds) { [5.0, 40.0 / Dir.glob(File.expand_path("../soak/cases/*.rb", __dir__)).size].min }

  it "finds no fault in a short time", limit: 240 do
    skip "for the process that runs on io_uring and epoll" unless Backends::CHOSEN == %i[io_uring epoll]
    skip Backends.missing(:io_uring) if Backends.missing(:io_uring)

    cases = Dir.glob(File.expand_path("../soak/cases/*.rb", __dir__)).size
    result = child("exec(RbConfig.ruby, *ARGV)", run, "--minutes", seconds * cases / 60, limit: 220)
    expect(result.stdout).to match(/\A.*\n(?:\w+ +(?:io_uring|epoll) .* 0\n)+\n#{2 * cases} passed, 0 failed\n\z/)
    expect(result.status).to be_success
  end
end
