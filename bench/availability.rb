# frozen_string_literal: true

require "open3"
require "rbconfig"
require_relative "floor"
require_relative "measurement"
require_relative "targets"

module Bench
  # Tells why a target cannot run here.
  module Availability
    # Checks of native parts: without them, the target would measure something else under its name.
    NATIVE = {
      "async-uring" => "require 'io/event'; IO::Event::Selector.const_defined?(:URing)",
      "carbon_fiber" => "require 'carbon_fiber'; CarbonFiber::Native.available?"
    }.freeze

    class << self
      # @return [String, nil]
      def missing(target)
        @missing ||= {}
        @missing.fetch(target.name) { @missing[target.name] = find(target) }
      end

      private

      def find(target)
        return Floor.missing unless target.ruby?
        return "not installed" if target.gem && Gem::Specification.find_all_by_name(target.gem).empty?

        compiled_without(target) || unable_to_start(target)
      end

      def compiled_without(target)
        native = NATIVE[target.name] or return
        "not compiled in" if ruby(target, "#{native} or exit 9").last.exitstatus == 9
      end

      # Enters the target: this shows whether its backend works, and whether this Ruby can load the installed gem.
      def unable_to_start(target)
        script = "Bench::Targets.find(#{target.name.dump}).enter { exit!(0) }"
        output, status = ruby(target, script, "-r#{__dir__}/targets.rb")
        "does not start: #{Measurement.reason(output)}" unless status.success?
      end

      def ruby(target, script, *options)
        Open3.capture2e(target.env, RbConfig.ruby, "-W0", *target.options, *options, "-e", script)
      end
    end
  end
end
