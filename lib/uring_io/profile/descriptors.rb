# frozen_string_literal: true

require_relative "sockets"

module UringIO
  class Profile
    # Tells the kinds of a process's descriptors, by /proc/PID/fd and /proc/PID/fdinfo, and reads its memory.
    class Descriptors
      # +kind+ is :socket, :pipe, :own_pipe (the process has both ends), :file, :event (eventfd, timerfd, signalfd,
      # inotify), :epoll, :ring or :terminal; +place+ is the path of a file. For a socket +socket+ is its End.
      Descriptor = Data.define(:kind, :place, :socket)

      ANONYMOUS = { "eventpoll" => :epoll, "io_uring" => :ring }.freeze
      UNKNOWN = Descriptor.new(:unknown, nil, nil)
      # One member of an epoll set in /proc/PID/fdinfo.
      LINE = /^tfd:\s*(\d+) events:\s*(\h+)/
      # The events that a program can wait for: IN, PRI, OUT and RDHUP.
      WAITED_FOR = 0x2007
      # Seconds for which we remember whether the process has both ends of a pipe: a forked child may close one.
      PATIENCE = 0.5
      MOST_PIPES = 1024
      private_constant :PATIENCE, :MOST_PIPES, :ANONYMOUS, :UNKNOWN, :LINE, :WAITED_FOR

      def initialize(pid)
        @pid = pid
        @sockets = Sockets.new(pid)
        @pipes = {}
      end

      # @return [Descriptor]
      def [](number)
        link = File.readlink(path(number))
        return Descriptor.new(own?(link) ? :own_pipe : :pipe, nil, nil) if link.start_with?("pipe:")

        describe(link)
      rescue SystemCallError
        UNKNOWN
      end

      # @return [Array<Descriptor>] those that an epoll set waits for
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

      # @return [String, nil] +size+ bytes of the process's memory; nil when we cannot read them
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

      def path(number) = "/proc/#{@pid}/fd/#{number}"

      # Whether the process can write to a pipe that it reads, to wake itself up.
      def own?(link)
        now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        known, found_at = @pipes[link]
        return known if found_at && now - found_at < PATIENCE

        @pipes.clear if @pipes.size > MOST_PIPES
        own = Dir.children("/proc/#{@pid}/fd").any? { |number| writes?(number, link) }
        @pipes[link] = [own, now]
        own
      end

      # The permission bits of the link show whether the descriptor is open for writing.
      def writes?(number, link)
        File.readlink(path(number)) == link && File.lstat(path(number)).mode.anybits?(0o200)
      rescue SystemCallError
        false
      end

      def describe(link)
        case link
        when /\Asocket:\[(\d+)\]/ then Descriptor.new(:socket, nil, @sockets[link[/\d+/].to_i])
        when /\Aanon_inode:\[?(\w+)/ then Descriptor.new(ANONYMOUS.fetch(link[/\[(\w+)/, 1], :event), nil, nil)
        when %r{\A/dev/(pts/|tty|console)} then Descriptor.new(:terminal, link, nil)
        when %r{\A/} then Descriptor.new(:file, link.delete_suffix(" (deleted)"), nil)
        else UNKNOWN
        end
      end
    end
  end
end
