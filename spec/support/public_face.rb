# frozen_string_literal: true

require "uring_io/command_line"
require "uring_io/doctor"
require "uring_io/ladder"
require "uring_io/nio/selector"
require "uring_io/profile"
require "uring_io/rails"
require "uring_io/selector/checked"

# The public part of the loaded gem: the modules below UringIO that have a public constant, and their members.
module PublicFace
  class << self
    # @return [Array<Module>]
    def modules
      found = []
      left = [UringIO]
      while (mod = left.shift)
        next if found.include?(mod)

        found << mod
        left.concat(constants(mod).map { |name| mod.const_get(name) }.grep(Module).select { |inner| ours?(inner) })
      end
      found
    end

    # @return [Array<Symbol>] the constants of the module itself
    def constants(mod)
      mod.constants(false)
    end

    # @return [Hash{Symbol => UnboundMethod, Method}] the public instance methods by name
    def instance_methods(mod)
      names = mod.public_instance_methods(false)
      names << :initialize if mod.private_instance_methods(false).include?(:initialize)
      names.to_h { |name| [name, mod.instance_method(name)] }
    end

    # @return [Hash{Symbol => Method}] the module's own singleton methods by name, without those of Data and Struct
    def singleton_methods(mod)
      names = mod.singleton_class.public_instance_methods(false)
      names -= %i[new [] members inspect keyword_init?] if mod.is_a?(Class) && (mod < Data || mod < Struct)
      # A class without allocate has undefined it. A class with a constructor in Rust has defined it.
      names.delete(:allocate)
      names.to_h { |name| [name, mod.method(name)] }
    end

    private

    def ours?(mod)
      mod.name&.start_with?("UringIO::")
    end
  end
end
