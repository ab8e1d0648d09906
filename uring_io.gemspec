# frozen_string_literal: true

require_relative "lib/uring_io/version"

Gem::Specification.new do |spec|
  spec.name = "uring_io"
  spec.version = UringIO::VERSION
  spec.authors = ["The uring_io maintainers"]
  spec.summary = "A fiber scheduler on Linux io_uring, with epoll, poll and select behind it"
  spec.description = "Runs blocking-style Ruby (Net::HTTP, sockets, files, timeouts, locks) as thousands of " \
                     "concurrent fibers on one thread, on Linux io_uring where it can and epoll where it must."
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.3"
  # Where RubyGems and RubyDoc have every gem. What is in the repository has its address from whoever builds a release.
  spec.homepage = "https://rubygems.org/gems/#{spec.name}"
  spec.metadata = {
    "rubygems_mfa_required" => "true",
    "documentation_uri" => "https://rubydoc.info/gems/#{spec.name}/#{spec.version}"
  }
  if (repository = ENV.fetch("URING_IO_REPOSITORY", nil))
    spec.metadata.update("source_code_uri" => "#{repository}/tree/v#{spec.version}",
                         "changelog_uri" => "#{repository}/blob/v#{spec.version}/CHANGELOG.md",
                         "bug_tracker_uri" => "#{repository}/issues")
  end

  spec.files = Dir["lib/**/*.{rb,erb,css,js}", "exe/*", "ext/**/*.{rs,rb,toml}", "crates/*/{src,benches}/**/*.rs",
                   "crates/*/Cargo.toml", "Cargo.{toml,lock}", "sig/**/*.rbs", "examples/**/*.rb", "docs/**/*.{md,svg}",
                   "LICENSE", "README.md", "SECURITY.md", "CHANGELOG.md"]
  spec.bindir = "exe"
  spec.executables = ["uring_io"]
  spec.require_paths = ["lib"]
  spec.extensions = ["ext/uring_io/extconf.rb", "ext/uring_io_agent/extconf.rb"]

  # For extconf.rb alone. RubyGems knows no dependencies of building; platform gems are without it.
  spec.add_dependency "rb_sys", "~> 0.9"
end
