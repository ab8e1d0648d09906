# frozen_string_literal: true

require_relative "calls"
require_relative "descriptors"

module UringIO
  class Profile
    # The wait of a thread. +kind+ is a key of WAITS; +peer+ says more, for example "postgresql at 127.0.0.1:5432".
    Wait = Data.define(:kind, :peer) do
      def initialize(kind:, peer: nil) = super
    end

    # The kinds of waits, each with the words for it.
    WAITS = {
      socket: "a socket", pipe: "a pipe", file: "a file or disk", child: "a child process", asleep: "asleep",
      gvl: "the GVL", lock: "a lock, a Queue or sleep", idle: "idle", other: "something else",
      name: "the address of a name"
    }.freeze

    # Finds out what a sleeping thread waits for, from its system call and the arguments of that call.
    class Waits
      # Calls whose first argument is the descriptor.
      BY_DESCRIPTOR = %i[read readv write writev recvfrom recvmsg recvmmsg sendto sendmsg sendmmsg connect preadv
                         preadv2 pwritev pwritev2 pread64 pwrite64 splice].freeze
      ON_FILES = %i[fsync fdatasync sync_file_range openat open copy_file_range].freeze
      ASLEEP = Wait.new(:asleep)
      # One socket of a pair, or a socket whose peer the kernel does not list (yet).
      UNCONNECTED = Wait.new(:socket, "a socket without an address")
      # Ruby's timer thread waits for other threads of the process, and nobody waits for it.
      TIMER = Wait.new(:idle, "Ruby's timer")
      LOCK = Wait.new(:lock)
      OTHER = Wait.new(:other)
      IDLE = Wait.new(:idle)
      # A process that waits for itself, as the master process of a server does between two signals.
      OWN_PIPE = Wait.new(:idle, "until it wakes itself by a pipe")
      BY_NAME = { nanosleep: ASLEEP, clock_nanosleep: ASLEEP, restart_syscall: ASLEEP, pause: IDLE,
                  rt_sigsuspend: IDLE, rt_sigtimedwait: IDLE, wait4: Wait.new(:child),
                  waitid: Wait.new(:child), flock: Wait.new(:lock, "a lock of a file"),
                  fcntl: Wait.new(:lock, "a lock of a file") }.freeze
      # While threads take turns at the GVL, Ruby's timer thread (CRuby's thread_pthread.c) wakes up after this many
      # milliseconds.
      TIME_SLICE = 10
      TURNS = Wait.new(:idle, "Ruby's timer, while threads take turns at the GVL")
      POLLFD = 8
      # We look at no more descriptors than this.
      MOST = 1024
      private_constant :BY_DESCRIPTOR, :ON_FILES, :ASLEEP, :OWN_PIPE, :BY_NAME, :TIME_SLICE, :POLLFD, :MOST

      def initialize(pid)
        @descriptors = Descriptors.new(pid)
      end

      # @param call [Integer] the number of the system call
      # @param arguments [Array<Integer>] the first five arguments of the call
      # @return [Wait]
      def of(call, arguments)
        name = Calls::NAMES[call]
        return BY_NAME[name] if BY_NAME.key?(name)
        return descriptor(arguments[0]) if BY_DESCRIPTOR.include?(name)
        return Wait.new(:file) if ON_FILES.include?(name)

        case name
        when :futex then arguments[3].zero? ? LOCK : ASLEEP
        when :sendfile then descriptor(arguments[0])
        when :accept, :accept4 then idle([@descriptors[arguments[0]]])
        when :poll, :ppoll then several(polled(*arguments.first(2)), endless: endless_poll?(name, arguments[2]))
        when :select, :pselect6 then several(selected(*arguments.first(4)), endless: arguments[4].zero?)
        when :epoll_wait, :epoll_pwait then loop_of(arguments[0], milliseconds(arguments[3]))
        when :epoll_pwait2 then loop_of(arguments[0], (1_000_000 unless arguments[3].zero?))
        when :io_uring_enter then ring
        else OTHER
        end
      end

      def close = @descriptors.close

      private

      def signed(word) = [word & 0xffffffff].pack("L").unpack1("l")

      def milliseconds(word) = signed(word).then { |number| number unless number.negative? }

      def endless_poll?(name, argument) = name == :poll ? signed(argument).negative? : argument.zero?

      def descriptor(number) = several([@descriptors[number]], endless: true)

      # A wait for any of these descriptors.
      def several(found, endless:)
        return endless ? IDLE : ASLEEP if found.empty?

        wait = first_peer(found)
        return wait if wait

        found.any? { |one| server?(one) } ? idle(found) : ordinary(found.first)
      end

      # The wait for a peer of which this process is a client, if there is one.
      def first_peer(found)
        client = found.find { |one| one.socket&.role == :client }
        client && Wait.new(:socket, peer(client.socket.place))
      end

      def server?(one) = %i[listening accepted].include?(one.socket&.role)

      def ordinary(one)
        case one.kind
        when :socket then UNCONNECTED
        when :pipe then Wait.new(:pipe)
        when :file then Wait.new(:file, one.place)
        when :terminal then Wait.new(:idle, "input from the terminal")
        when :event, :epoll then IDLE
        when :own_pipe then OWN_PIPE
        else OTHER
        end
      end

      # The wait of a server between two requests: in accept, or in its loop.
      def idle(found)
        place = found.filter_map { |one| one.socket&.place if server?(one) }.first
        place ? Wait.new(:idle, "for clients of #{place}") : IDLE
      end

      def peer(place)
        service = Sockets.service(place)
        service ? "#{service} at #{place}" : place
      end

      # A thread in an epoll loop waits for everything in its set. The set of Ruby's own timer thread has nothing from
      # outside of the process.
      def loop_of(epoll, milliseconds)
        found = @descriptors.members(epoll).reject { |one| %i[event epoll].include?(one.kind) }
        return several(found, endless: milliseconds.nil?) if found.any?

        milliseconds == TIME_SLICE ? TURNS : TIMER
      end

      # The kernel does not show what the operations of a ring wait for. It may be any connection of the process.
      def ring
        several(@descriptors.all.select { |one| one.kind == :socket && one.socket&.role != :other }, endless: false)
      end

      def polled(address, count)
        bytes = @descriptors.memory(address, POLLFD * [count, MOST].min) if count.positive?
        return [] unless bytes

        bytes.unpack("lss" * (bytes.bytesize / POLLFD)).each_slice(3).filter_map do |number, _, _|
          @descriptors[number] unless number.negative?
        end
      end

      def selected(count, *sets)
        numbers = sets.flat_map do |address|
          next [] if address.zero?

          bits = @descriptors.memory(address, (([count, MOST].min + 63) / 64) * 8)&.unpack1("b*") || ""
          (0...[count, bits.size].min).select { |number| bits[number] == "1" }
        end
        numbers.uniq.map { |number| @descriptors[number] }
      end
    end
  end
end
