# frozen_string_literal: true

# Runs each example under a watchdog, in random order, and checks that it leaves nothing behind. Examples about
# schedulers run once on every backend. Examples share the files of support/.
#
# URING_IO_SPEC_BACKENDS=io_uring,epoll restricts the backends. URING_IO_SPEC_LIMIT=5 makes examples that hang fail
# after that many seconds; more than 20 makes all limits longer, for slow machines. URING_IO_SPEC_RESTRICT=1 makes
# schedulers and selectors with restrict: true. URING_IO_SPEC_GC runs the garbage collector at its worst
# (support/collector.rb).

require_relative "support/warnings"

RSpec.configure do |config|
  config.disable_monkey_patching!
  config.expect_with(:rspec) { |expectations| expectations.syntax = :expect }
  config.warnings = true
  config.fail_if_no_examples = true
  config.order = :random
  Kernel.srand config.seed
  config.filter_run_when_matching :focus unless ENV["CI"]

  config.before(:suite) do
    focused = RSpec.world.all_examples.select { |example| example.metadata[:focus] }
    raise "focused examples: #{focused.map(&:location).join(', ')}" if ENV["CI"] && focused.any?
  end
end

require "uring_io"

require_relative "support/backends"
require_relative "support/kernel_needs"
require_relative "support/watchdog"
require_relative "support/collector"
require_relative "support/leaks"
require_relative "support/resources"
require_relative "support/scheduling"
require_relative "support/contract"
require_relative "support/selectors"
require_relative "support/rings"
require_relative "support/hook_recorder"
require_relative "support/child_program"
require_relative "support/system_calls"
require_relative "support/seccomp"
require_relative "support/nginx"
require_relative "support/restricted" if ENV["URING_IO_SPEC_RESTRICT"] == "1"
