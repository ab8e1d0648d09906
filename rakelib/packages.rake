# frozen_string_literal: true

# The gems: one with the source, and one for Linux on each architecture, with the extension compiled for each Ruby. No
# machine has all of these Rubies. So each Ruby stages its extension, and then one of them packs all that is staged.
# bin/packages does all of this. URING_IO_CPU=aarch64 packs the extensions that a cross compiler made for aarch64.

# Minor versions of Ruby that the platform gem must hold, without gaps.
NATIVE_RUBIES = %w[3.3 3.4].freeze
# The oldest C library with which the platform gem works. RubyGems cannot express it, so the README says it.
GLIBC_LIMIT = Gem::Version.new("2.34")
# The only libraries with which a compiled extension may be linked. libruby is not one of them: the program that loads
# the extension provides Ruby's functions.
NATIVE_LIBRARIES = [/\Alibc\.so\./, /\Alibgcc_s\.so\./, /\Ald-linux/].freeze
NATIVE_CPU = ENV.fetch("URING_IO_CPU", RbConfig::CONFIG["host_cpu"]).freeze
NATIVE_PLATFORM = "#{NATIVE_CPU}-linux-gnu".freeze
STAGE = "pkg/native/#{NATIVE_CPU}".freeze
# The extension, and the agent that `uring_io profile` loads into programs.
COMPILED = %w[uring_io.so uring_io_agent.so].freeze
SOURCES = FileList["lib/**/*.{rb,erb,css,js}", "ext/**/*.{rs,rb,toml}", "crates/*/src/**/*.rs", "crates/*/Cargo.toml",
                   "Cargo.toml", "Cargo.lock"]

def output_of(*command)
  IO.popen(command, &:read).tap { abort "#{command.join(' ')} failed" unless $?.success? }
end

# The newest version of glibc whose symbols this library needs. Unlike objdump, readelf reads every architecture.
def glibc_needed(library)
  symbols = output_of("readelf", "--version-info", library)
  symbols.scan(/GLIBC_(\d[\d.]*)/).map { |(version)| Gem::Version.new(version) }.max
end

def check_native(library)
  needed = glibc_needed(library)
  libraries = output_of("readelf", "--dynamic", library).scan(/\(NEEDED\).*\[(\S+)\]/).flatten
  puts "#{library}: #{File.size(library)} bytes, glibc #{needed}, #{libraries.join(' ')}"
  abort "#{library} needs glibc #{needed}; the gem is for #{GLIBC_LIMIT} and newer: build it on an older system" if
    needed > GLIBC_LIMIT
  foreign = libraries.reject { |name| NATIVE_LIBRARIES.any? { |allowed| allowed.match?(name) } }
  abort "#{library} is linked with #{foreign.join(', ')}, which other machines may not have" if foreign.any?
end

# The specification of the platform gem.
def native_spec
  GEMSPEC.dup.tap do |spec|
    newest = Gem::Version.new("#{NATIVE_RUBIES.last}.0").bump
    spec.platform = NATIVE_PLATFORM
    spec.required_ruby_version = [">= #{NATIVE_RUBIES.first}", "< #{newest}.dev"]
    # An older RubyGems does not know that every glibc system matches the suffix -gnu.
    spec.required_rubygems_version = ">= 3.3.22"
    spec.extensions = []
    spec.dependencies.reject! { |dependency| dependency.name == "rb_sys" }
    spec.files = spec.files.grep_v(%r{\A(ext|crates)/|\ACargo\.}) +
                 NATIVE_RUBIES.product(COMPILED).map { |ruby, name| "lib/uring_io/#{ruby}/#{name}" }
  end
end

def print_gem(path)
  puts Gem::Package.new(path).contents, "#{path}: #{File.size(path)} bytes"
end

namespace :gem do
  desc "Put the extension for this Ruby, without debug information, where gem:native takes it"
  task stage: :compile do
    COMPILED.each do |name|
      staged = "#{STAGE}/#{RUBY_MINOR}/#{name}"
      mkdir_p File.dirname(staged), verbose: false
      # This keeps the names of functions, which crash reports and profilers show.
      sh "strip", "--strip-debug", "-o", staged, "lib/uring_io/#{RUBY_MINOR}/#{name}"
      check_native(staged)
    end
  end

  desc "Build the platform gem into pkg from what gem:stage put there on each Ruby (#{NATIVE_RUBIES.join(', ')})"
  task :native do
    staged = NATIVE_RUBIES.product(COMPILED).to_h do |ruby, name|
      ["#{STAGE}/#{ruby}/#{name}", "lib/uring_io/#{ruby}/#{name}"]
    end
    missing = staged.keys.reject { |path| File.exist?(path) }
    abort "not there: #{missing.join(', ')}; run `rake gem:stage` on those Rubies, or bin/packages" if missing.any?
    newest = SOURCES.max_by { |path| File.mtime(path) }
    old = staged.keys.select { |path| File.mtime(path) < File.mtime(newest) }
    abort "#{old.join(', ')}: older than #{newest}; run `rake gem:stage` again, or bin/packages" if old.any?
    staged.each_key { |path| check_native(path) }

    spec = native_spec
    folder = "pkg/#{spec.full_name}"
    rm_rf folder, verbose: false
    spec.files.each do |path|
      mkdir_p File.dirname("#{folder}/#{path}"), verbose: false
      cp staged.key(path) || path, "#{folder}/#{path}", verbose: false
    end
    built = Dir.chdir(folder) { Gem::Package.build(spec) }
    mv "#{folder}/#{built}", "pkg/#{built}", verbose: false
    print_gem "pkg/#{built}"
  end
end

desc "Build the source gem into pkg"
task :build do
  mkdir_p "pkg", verbose: false
  path = "pkg/#{GEMSPEC.file_name}"
  Gem::Package.build(GEMSPEC, false, false, path)
  print_gem path
end

namespace :spec do
  desc "Check the list of files of the gem (bin/packages --check installs the gems, too)"
  task(:packaging) { sh(*RSPEC, "--pattern", PACKAGING_SPECS, "--exclude-pattern", "") }

  namespace :packaging do
    desc "Install the gem for aarch64 in emulated machines and fetch with it (bin/packages --check --aarch64)"
    task :aarch64 do
      abort "run bin/packages --check --aarch64 outside of bin/sandbox: it makes roots of its own" if
        ENV.key?("URING_IO_SANDBOX")
      sh "bin/packages", "--check", "--aarch64"
    end
  end
end
