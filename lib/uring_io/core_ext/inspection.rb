# frozen_string_literal: true

require_relative "../inspection"

module UringIO
  module Inspection
    # Gives a forked child a socket of its own: the thread that answers at its parent's socket is not in the child.
    module InForks
      # @return [Integer] as Process._fork
      def _fork = super.tap { |pid| Inspection.open if pid.zero? }

      # @return [Integer] as Process.daemon, which goes on in a child
      def daemon(...) = super.tap { Inspection.open }
    end
    private_constant :InForks

    Process.singleton_class.prepend(InForks)
    open
  end
end
