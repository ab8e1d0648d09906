# frozen_string_literal: true

# The checks that .github/workflows/release.yml makes before it publishes anything.

RELEASED = [nil, "x86_64-linux", "aarch64-linux", "x86_64-linux-musl", "aarch64-linux-musl"].freeze

namespace :release do
  desc "Fail unless this is the tag of the version, and the changelog tells of it"
  task :check, [:tag] do |_, arguments|
    expected = "v#{GEMSPEC.version}"
    abort "release: the tag is #{arguments.tag.inspect}, and lib/uring_io/version.rb says #{expected}" unless
      arguments.tag == expected
    heading = /^## #{Regexp.escape(GEMSPEC.version.to_s)} \(\d{4}-\d\d-\d\d\)$/
    abort "release: CHANGELOG.md has no heading `## #{GEMSPEC.version} (YEAR-MONTH-DAY)`: rename Unreleased" unless
      File.read("CHANGELOG.md").match?(heading)
  end

  desc "Fail unless pkg/ has the gem of this tag for each platform, and no other"
  task :gems, [:tag] do |_, arguments|
    version = arguments.tag.to_s.delete_prefix("v")
    expected = RELEASED.map { |platform| "#{['uring_io', version, platform].compact.join('-')}.gem" }
    found = Dir.children("pkg").grep(/\.gem\z/)
    missing = expected - found
    foreign = found - expected
    abort "release: pkg/ lacks #{missing.join(', ')}" if missing.any?
    abort "release: pkg/ has #{foreign.join(', ')}, which is no gem of #{version}" if foreign.any?
  end
end
