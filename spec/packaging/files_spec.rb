# frozen_string_literal: true

require "rubygems"

# Checks the files of the gem. `rake spec:packaging` runs this, and bin/packages --check installs the gem.
RSpec.describe "the files of the gem" do
  let(:root) { File.expand_path("../..", __dir__) }
  let(:files) { Dir.chdir(root) { Gem::Specification.load("uring_io.gemspec").files } }

  def there(*patterns)
    Dir.chdir(root) { Dir[*patterns] }
  end

  it "are the library, the extension's and the crates' sources, and documents" do
    expected = there("lib/**/*.{rb,erb,css,js}", "exe/*", "ext/**/*.{rs,rb,toml}", "crates/*/src/**/*.rs",
                     "crates/*/benches/*.rs", "crates/*/Cargo.toml", "docs/**/*.{md,svg}", "examples/**/*.rb",
                     "sig/**/*.rbs") +
               %w[Cargo.toml Cargo.lock LICENSE README.md SECURITY.md CHANGELOG.md]
    expect(files).to match_array(expected)
  end

  it "come with the repository's addresses when the repository is known" do
    script = 'puts Gem::Specification.load("uring_io.gemspec").metadata'
    named, unnamed = ["https://example.org/x/uring_io", nil].map do |repository|
      IO.popen([{ "URING_IO_REPOSITORY" => repository }, RbConfig.ruby, "-e", script, { chdir: root }], &:read)
    end
    expect(named).to match(%r{"source_code_uri" ?=> ?"https://example.org/x/uring_io/tree/v\d})
    expect(named).to include("changelog_uri", "bug_tracker_uri", "documentation_uri", "rubygems_mfa_required")
    expect(unnamed).to include("documentation_uri")
    expect(unnamed).not_to include("source_code_uri")
  end

  it "include nothing that only developers need" do
    expect(files.grep(%r{(\A|/)(spec|soak|bench|target|tmp|pkg|tests|fuzz|bin|\.ci)/})).to be_empty
  end

  it "include every member of the Cargo workspace, because none compiles without the others" do
    members = File.read("#{root}/Cargo.toml")[/^members = \[(.*?)\]/m, 1].scan(/"(.*?)"/).flatten
    expect(files).to include(*members.map { |member| "#{member}/Cargo.toml" })
  end
end
