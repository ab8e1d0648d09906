# frozen_string_literal: true

# How examples are run here: each under a watchdog, with nothing left behind, in random order, and
# those about schedulers once on every backend. What examples share is in support/.
#
# URING_IO_SPEC_BACKENDS=io_uring,epoll restricts the backends; URING_IO_SPEC_LIMIT=5 has examples that hang fail after
# that many seconds, and more than 20 make all limits longer, for slow machines. URING_IO_SPEC_RESTRICT=1 has schedulers
# and selectors made with restrict: true. URING_IO_SPEC_GC has the garbage collector at its worst
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
