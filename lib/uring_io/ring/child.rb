# frozen_string_literal: true

module UringIO
  class Ring
    # A child process as waitid(2) reports it.
    #
    # @!parse
    #   # A child process as waitid(2) reports it.
    #   class Child < Data
    #     # @return [Integer]
    #     attr_reader :pid
    #     # @return [Integer] its real user
    #     attr_reader :uid
    #     # @return [Symbol] :exited, :killed, :dumped, :trapped, :stopped or :continued
    #     attr_reader :event
    #     # @return [Integer] the exit status, or the number of the signal
    #     attr_reader :status
    #   end
    Child = Data.define(:pid, :uid, :event, :status)

    # A child process as waitid(2) reports it.
    class Child
      # The kinds of id for waitid(2).
      KINDS = { all: 0, pid: 1, pgid: 2, pidfd: 3 }.freeze
      # The events that waitid(2) can wait for.
      EVENTS = { exited: 4, stopped: 2, continued: 8 }.freeze
      CODES = { 1 => :exited, 2 => :killed, 3 => :dumped, 4 => :trapped, 5 => :stopped, 6 => :continued }.freeze
      # Does not reap the child, so that the program can wait for it again (WNOWAIT).
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
