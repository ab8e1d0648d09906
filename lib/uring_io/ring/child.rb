# frozen_string_literal: true

module UringIO
  class Ring
    # What waitid(2) tells of a child.
    # @!attribute pid
    #   @return [Integer]
    # @!attribute uid
    #   @return [Integer] its real user
    # @!attribute event
    #   @return [Symbol] :exited, :killed, :dumped, :trapped, :stopped or :continued
    # @!attribute status
    #   @return [Integer] the exit status, or the number of the signal
    Child = Data.define(:pid, :uid, :event, :status)

    # Constants of waitid(2) and its siginfo.
    class Child
      KINDS = { all: 0, pid: 1, pgid: 2, pidfd: 3 }.freeze
      EVENTS = { exited: 4, stopped: 2, continued: 8 }.freeze
      CODES = { 1 => :exited, 2 => :killed, 3 => :dumped, 4 => :trapped, 5 => :stopped, 6 => :continued }.freeze
      NOWAIT = 0x01000000
      private_constant :CODES

      # @api private
      def self.from(fields)
        pid, uid, code, status = fields
        new(pid:, uid:, event: CODES.fetch(code, code), status:)
      end
    end
  end
end
