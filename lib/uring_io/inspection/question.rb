# frozen_string_literal: true

require "json"
require "socket"
require_relative "../errors"
require_relative "../inspection"

module UringIO
  module Inspection
    # Asks another process what its fibers wait for.
    class Question
      # Seconds after which we give up waiting for an answer.
      PATIENCE = 30
      # Seconds after which an answer is late: a program whose Ruby code runs answers sooner.
      LATE = 2
      # Seconds in which a program must load uring_io, which opens the socket; and seconds between two looks for it.
      START = 5
      LOOK = 0.05
      private_constant :PATIENCE, :LATE, :START, :LOOK

      def initialize(pid, patience: PATIENCE, late: LATE)
        @pid = pid
        @late = late
        @deadline = now + patience
        @patience = patience
      end

      # @yieldparam why [String] why the answer is late, if it is
      # @return [Hash] of Snapshot; +late+ is the number of seconds that a late answer took
      # @raise [Error] for a process that does not answer, with the reason
      def answer(&)
        check_process
        text, seconds = asked(&)
        found = JSON.parse(text, symbolize_names: true)
        raise Error, "process #{@pid} could not answer: #{found[:error]}" if found[:error]

        seconds < @late ? found : found.merge(late: seconds)
      rescue JSON::ParserError
        raise Error, "process #{@pid} ended before it had answered" unless alive?

        raise Error, "process #{@pid} broke its answer off after #{text.bytesize} bytes: ask again"
      end

      private

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

      def check_process
        raise Error, "--pid needs the number of a process, and #{@pid} is none" unless @pid.positive?

        Process.kill(0, @pid)
      rescue Errno::ESRCH, RangeError
        raise Error, "there is no process #{@pid}"
      rescue Errno::EPERM
        raise Error, "process #{@pid} belongs to another user: ask as that user, or as root"
      end

      def alive?
        Process.kill(0, @pid) == 1
      rescue Errno::ESRCH
        false
      end

      # @return [Array(String, Float)] the text, and the seconds until its first byte
      def asked
        socket = connected
        text = +""
        begun = now
        yield "process #{@pid} has not answered yet: #{silence}" unless socket.wait_readable(@late) || !block_given?
        wait_for(socket)
        seconds = now - begun
        loop do
          text << socket.readpartial(1 << 16)
          wait_for(socket)
        end
      rescue EOFError, Errno::ECONNRESET
        [text, seconds || 0]
      ensure
        socket&.close
      end

      def wait_for(socket)
        left = @deadline - now
        return if left.positive? && socket.wait_readable(left)

        raise Error, "process #{@pid} has not answered for #{@patience} seconds: #{silence}"
      end

      def silence
        return "it is stopped (SIGSTOP, or a debugger)" if status[/^State:\s*([tT])/]

        "native code that keeps Ruby's lock (the GVL) lets no thread run, so the process cannot answer; " \
          "`gdb -p #{@pid}` tells where it is, and `uring_io trace --html FILE -- COMMAND` in which fiber"
      end

      def connected
        path = found
        raise Error, without_socket unless path

        check_owner(path)
        socket = UNIXSocket.new(path)
        return socket if !socket.respond_to?(:getsockopt) || speaker(socket) == @pid

        socket.close
        raise Error, "#{path} belongs to process #{speaker(socket)}, not to #{@pid}"
      rescue Errno::ECONNREFUSED
        raise Error, "nobody listens at #{path}: process #{@pid} has replaced itself by another program (exec), " \
                     "or an earlier process of that number left the file behind"
      rescue Errno::EACCES
        raise Error, "this user may not use #{path}: ask as the user of process #{@pid}, or as root"
      end

      # The path of the socket; nil when there is none. A program with URING_IO_INSPECT=1 may be about to open it, so
      # this waits for START seconds.
      def found
        limit = now + START
        loop do
          path = paths.find { |name| File.socket?(name) }
          return path if path || now > limit || !alive? || environment&.fetch("URING_IO_INSPECT", nil) != "1"

          sleep(LOOK)
        end
      end

      # Raises for a socket of another user: anybody may make a file of that name.
      def check_owner(path)
        owner = File.lstat(path).uid
        return if [Process.euid, 0, uid].include?(owner)

        raise Error, "#{path} belongs to user #{owner}, and process #{@pid} to user #{uid}: another process has made " \
                     "the file, so remove it and start process #{@pid} anew"
      end

      def speaker(socket)
        return @pid unless Socket.const_defined?(:SO_PEERCRED)

        socket.getsockopt(:SOCKET, :PEERCRED).data.unpack1("L")
      end

      # The paths at which that process may have its socket: by its own environment, by ours, and by an empty one.
      def paths
        [*(Inspection.path(@pid, environment) if environment), Inspection.path(@pid, ENV),
         Inspection.path(@pid, {})].uniq
      end

      # The environment with which the process started; nil when we may not read it.
      def environment
        lines = File.binread("/proc/#{@pid}/environ").split("\0")
        lines.to_h { |line| [*line.split("=", 2), ""].first(2) }
      rescue SystemCallError
        nil
      end

      def status
        File.read("/proc/#{@pid}/status")
      rescue SystemCallError
        ""
      end

      def uid = status[/^Uid:\s*\d+\s+(\d+)/, 1]&.to_i || Process.euid

      def without_socket
        return "process #{@pid} has ended" unless alive?

        name = status[/^Name:\s*(.*)/, 1]
        start = "process #{@pid}#{" (#{name})" if name}"
        if environment && environment["URING_IO_INSPECT"] != "1"
          return "#{start} cannot be asked, because it was started without URING_IO_INSPECT=1: start it with that " \
                 "variable"
        end

        "#{start} has no socket at #{paths.join(' or ')}: it has not loaded uring_io, or was not started with " \
          "URING_IO_INSPECT=1"
      end
    end
  end
end
