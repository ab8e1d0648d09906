# frozen_string_literal: true

require "open3"

RSpec.describe "A release" do
  def rake(task)
    output, status = Open3.capture2e("rake", "--silent", task, chdir: File.expand_path("../..", __dir__))
    [status.success?, output.lines.grep(/\Arelease: /).join.chomp]
  end

  it "fails for a tag that differs from the version" do
    version = Gem::Specification.load("uring_io.gemspec").version
    expect(rake("release:check[v99.0.0]"))
      .to eq([false, "release: the tag is \"v99.0.0\", and lib/uring_io/version.rb says v#{version}"])
  end

  it "fails when the changelog has no heading for the version" do
    version = Gem::Specification.load("uring_io.gemspec").version
    skip "this version is in the changelog" if File.read("CHANGELOG.md").include?("## #{version} ")
    expect(rake("release:check[v#{version}]").last)
      .to start_with("release: CHANGELOG.md has no heading `## #{version} (")
  end
end
