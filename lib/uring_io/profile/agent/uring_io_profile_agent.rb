# frozen_string_literal: true

# Loaded by RUBYOPT into each Ruby that `uring_io profile` starts, directly or not: so any Ruby must be able to read
# this file, and where the agent cannot work it does nothing and says nothing. It must not be seen either: it defines no
# constant but its own, and leaves neither a thread, a descriptor nor a signal handler.
if defined?(RUBY_ENGINE) && RUBY_ENGINE == "ruby" && (RUBY_VERSION.split(".").map(&:to_i) <=> [3, 3]) >= 0
  # Where RUBYLIB leads here, because this path has a space in it.
  $LOAD_PATH.delete(__dir__)
  native = File.expand_path("../../#{RUBY_VERSION[/\A\d+\.\d+/]}/uring_io_agent.so", __dir__)
  folder = ENV.fetch("URING_IO_PROFILE_AGENT", nil)
  begin
    if folder && File.directory?(folder) && File.exist?(native)
      require native
      require_relative "hooks" if UringIOProfileAgent.install(folder)
    end
  rescue LoadError, SystemCallError
    # Compiled for another machine, or not to be had.
  end
end
