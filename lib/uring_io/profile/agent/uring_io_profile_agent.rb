# frozen_string_literal: true

# RUBYOPT loads this file into each Ruby that `uring_io profile` starts, directly or not. So any Ruby must be able to
# parse it, and where the agent cannot work, it does nothing and prints nothing. The program must not notice it: it
# defines only one constant, and leaves no thread, no descriptor and no signal handler.
if defined?(RUBY_ENGINE) && RUBY_ENGINE == "ruby" && (RUBY_VERSION.split(".").map(&:to_i) <=> [3, 3]) >= 0
  # When this path has a space in it, RUBYLIB has added it to the load path.
  $LOAD_PATH.delete(__dir__)
  native = File.expand_path("../../#{RUBY_VERSION[/\A\d+\.\d+/]}/uring_io_agent.so", __dir__)
  folder = ENV.fetch("URING_IO_PROFILE_AGENT", nil)
  begin
    if folder && File.directory?(folder) && File.exist?(native)
      require native
      require_relative "hooks" if UringIOProfileAgent.install(folder)
    end
  rescue LoadError, SystemCallError
    # The library is for another machine, or cannot be loaded.
  end
end
