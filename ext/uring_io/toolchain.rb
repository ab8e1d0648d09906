# frozen_string_literal: true

require "rbconfig"

# What compiling the extension needs and this machine lacks, found out before anything is compiled.
module Toolchain
  RUST = "1.85"

  module_function

  # @return [Array<String>] a sentence for each thing that is missing, with how to install it
  def missing
    [rust, linker, libclang, rb_sys].compact
  end

  def rust
    version = output_of("rustc", "--version")&.slice(/\d+\.\d+(\.\d+)?/)
    return if version && Gem::Version.new(version) >= Gem::Version.new(RUST) && output_of("cargo", "--version")

    found = version ? "rustc is #{version}" : "rustc does not run"
    found = "cargo does not run" if version && output_of("cargo", "--version").nil?
    "Rust #{RUST} or newer (#{found}): https://rustup.rs, or `apt install rustc cargo` from Debian 13, " \
      "`dnf install rust cargo` on Fedora"
  end

  def linker
    return if [%w[cc gcc clang], %w[make gmake bmake]].all? { |names| names.any? { |name| runs?(name) } }

    "a C compiler, to link with, and make: `apt install build-essential`, `dnf install gcc make`"
  end

  # Where the crate clang-sys looks, which loads it.
  def libclang
    return if ENV["LIBCLANG_PATH"]

    prefix = output_of(ENV.fetch("LLVM_CONFIG_PATH", "llvm-config"), "--prefix")
    folders = [prefix && "#{prefix.chomp}/lib*", "/usr/lib", "/usr/lib64", "/usr/lib/*-linux-gnu*",
               "/usr/lib/llvm*/lib*", "/usr/local/lib*", "/usr/local/llvm*/lib*",
               "/opt/{homebrew,local}/{lib,opt/llvm*/lib}", "/usr/local/opt/llvm*/lib",
               "/{Library,Applications/Xcode.app/Contents}/Developer/**/usr/lib"]
    return if folders.compact.any? { |folder| Dir["#{folder}/libclang{,-*}.{so,so.*,dylib}"].any? }

    "libclang: `apt install libclang-dev`, `dnf install clang-devel`; when it is elsewhere, " \
      "set LIBCLANG_PATH to its folder"
  end

  def rb_sys
    return if Gem.find_files("rb_sys/mkmf.rb").any?

    "the gem rb_sys: `gem install rb_sys`, or `apt install ruby-rb-sys`"
  end

  # Only looked for: BSD's make takes no --version.
  def runs?(name)
    ENV["PATH"].split(File::PATH_SEPARATOR).any? { |folder| File.executable?("#{folder}/#{name}") }
  end

  def output_of(*command)
    IO.popen(command, err: File::NULL, &:read).then { |output| output if $?.success? }
  rescue SystemCallError
    nil
  end
end
