# frozen_string_literal: true

require "etc"

# Lines of a script that make the kernel refuse io_uring's three calls, as container runtimes do, or accept4(2). They
# run in a child program, because a process cannot remove a filter.
module Seccomp
  ARCHITECTURES = { "x86_64" => 0xC000003E, "aarch64" => 0xC00000B7 }.freeze
  # The numbers of io_uring's three calls, on every architecture: setup, enter, register.
  CALLS = (425..427)
  ACCEPT4 = { "x86_64" => 288, "aarch64" => 242 }.freeze

  class << self
    # The reason why filters do not work here, or nil when they do.
    def missing
      machine = Etc.uname[:machine]
      return "no seccomp filter is written for #{machine}" unless ARCHITECTURES.key?(machine)

      require "fiddle"
      nil
    rescue LoadError
      "fiddle is not installed"
    end

    # @param errno [Integer] the errno of the denied calls
    # @param calls [Range] the numbers of the denied calls
    # @param operation [Integer, nil] the second argument, if only calls with that argument shall fail
    def denying_io_uring(errno, calls = CALLS, operation: nil)
      denying(errno, calls, operation && [24, operation])
    end

    # @param errno [Integer] the errno of accept4(2)
    # @param descriptor [String] an expression in the script for the number of the only affected socket
    def denying_accept(errno, descriptor)
      number = ACCEPT4.fetch(Etc.uname[:machine])
      denying(errno, number..number, [16, descriptor])
    end

    private

    # @param argument [Array, nil] the offset of an argument in struct seccomp_data, and its required value
    def denying(errno, calls, argument)
      architecture = ARCHITECTURES.fetch(Etc.uname[:machine])
      place, value = argument
      condition = "instruction.(load, 0, 0, #{place}), instruction.(jump_if_equal, 0, 1, #{value})," if argument
      more = argument ? 2 : 0
      <<~RUBY
        require "fiddle"
        instruction = ->(code, jt, jf, k) { [code, jt, jf, k].pack("SCCL") }
        load, jump_if_equal, jump_if_ge, give = 0x20, 0x15, 0x35, 0x06
        filter = [
          instruction.(load, 0, 0, 4),
          instruction.(jump_if_equal, 0, #{4 + more}, #{architecture}),
          instruction.(load, 0, 0, 0),
          instruction.(jump_if_ge, 0, #{2 + more}, #{calls.min}),
          instruction.(jump_if_ge, #{1 + more}, 0, #{calls.max + 1}),
          #{condition}
          instruction.(give, 0, 0, 0x00050000 | #{errno}),
          instruction.(give, 0, 0, 0x7fff0000)
        ].join
        code = Fiddle::Pointer[filter]
        program = [#{7 + more}].pack("Sx6") + [code.to_i].pack("J")
        long = Fiddle::TYPE_LONG
        prctl = Fiddle::Function.new(Fiddle::Handle::DEFAULT["prctl"], [Fiddle::TYPE_INT] + [long] * 4, Fiddle::TYPE_INT)
        set_no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
        prctl.call(set_no_new_privileges, 1, 0, 0, 0).zero? or abort "prctl(PR_SET_NO_NEW_PRIVS) failed"
        prctl.call(set_seccomp, filter_mode, Fiddle::Pointer[program].to_i, 0, 0).zero? or abort "prctl(PR_SET_SECCOMP) failed"
      RUBY
    end
  end
end
