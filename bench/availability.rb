# frozen_string_literal: true

require "open3"
require "rbconfig"
require_relative "floor"
require_relative "targets"

module Bench
  # Why a target cannot run here.
  module Availability
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

        case target.name
        when "async-uring" then not_compiled_in
        when "async+uring_io", "sqpoll" then backend("io_uring")
        when "select", "poll", "epoll", "io_uring" then backend(target.name)
        end
      end

      def not_compiled_in
        "not compiled in" unless ruby("require 'io/event'; print IO::Event::Selector.const_defined?(:URing)") == "true"
      end

      def backend(name)
        reason = ruby("require 'uring_io'; print UringIO.support.backends[:#{name}].cause", "-I#{LIB}")
        reason unless reason.empty?
      end

      def ruby(script, *options)
        output, status = Open3.capture2(RbConfig.ruby, "-W0", *options, "-e", script)
        status.success? ? output : "does not load"
      end
    end
  end
end
