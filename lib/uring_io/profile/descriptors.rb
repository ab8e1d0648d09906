# frozen_string_literal: true

require_relative "sockets"

module UringIO
  class Profile
    # What the descriptors of a process are, by /proc/PID/fd and /proc/PID/fdinfo, and what its memory holds.
    class Descriptors
      # +kind+ is :socket, :pipe, :file, :event (eventfd, timerfd, signalfd, inotify), :epoll, :ring or :terminal;
      # +place+ is the path of a file. For a socket +socket+ is its End.
      Descriptor = Data.define(:kind, :place, :socket)

      ANONYMOUS = { "eventpoll" => :epoll, "io_uring" => :ring }.freeze
      UNKNOWN = Descriptor.new(:unknown, nil, nil)
      # Of an epoll set's members.
      LINE = /^tfd:\s*(\d+) events:\s*(\h+)/
      # The events in which somebody waits: IN, PRI, OUT and RDHUP.
      WAITED_FOR = 0x2007
      private_constant :ANONYMOUS, :UNKNOWN, :LINE, :WAITED_FOR

      def initialize(pid)
        @pid = pid
        @sockets = Sockets.new(pid)
      end

      # @return [Descriptor]
      def [](number)
        describe(File.readlink("/proc/#{@pid}/fd/#{number}"))
      rescue SystemCallError
        UNKNOWN
      end

      # @return [Array<Descriptor>] what is waited for in an epoll set
      def members(epoll)
        File.foreach("/proc/#{@pid}/fdinfo/#{epoll}").filter_map do |line|
          found = LINE.match(line)
          self[found[1]] if found && found[2].hex.anybits?(WAITED_FOR)
        end
      rescue SystemCallError
        []
      end

      # @return [Array<Descriptor>] all that are open
      def all
        Dir.children("/proc/#{@pid}/fd").map { |number| self[number] }
      rescue SystemCallError
        []
      end

      # @return [String, nil] so many bytes of the memory of the process; nil when they cannot be read
      def memory(address, size)
        @memory ||= File.open("/proc/#{@pid}/mem", "rb")
        @memory.pread(size, address)
      rescue SystemCallError, EOFError, RangeError
        nil
      end

      def close
        @memory&.close
      end

      private

      def describe(link)
        case link
        when /\Asocket:\[(\d+)\]/ then Descriptor.new(:socket, nil, @sockets[link[/\d+/].to_i])
        when /\Apipe:/ then Descriptor.new(:pipe, nil, nil)
        when /\Aanon_inode:\[?(\w+)/ then Descriptor.new(ANONYMOUS.fetch(link[/\[(\w+)/, 1], :event), nil, nil)
        when %r{\A/dev/(pts/|tty|console)} then Descriptor.new(:terminal, link, nil)
        when %r{\A/} then Descriptor.new(:file, link.delete_suffix(" (deleted)"), nil)
        else UNKNOWN
        end
      end
    end
  end
end
