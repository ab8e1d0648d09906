# frozen_string_literal: true

require "json"
require "socket"
require "tmpdir"
require_relative "inspection/snapshot"

module UringIO
  # The socket on which <tt>uring_io fibers --pid</tt> asks this program what its fibers wait for. A program that starts
  # with URING_IO_INSPECT=1 opens it. A thread of its own answers, so an answer comes even while a fiber computes.
  module Inspection
    # Seconds in which the asking process must read the answer.
    PATIENCE = 5
    # Seconds until the thread tries again after accept has failed.
    PAUSE = 0.2
    private_constant :PATIENCE, :PAUSE

    class << self
      # Opens the socket of this process. If that fails, prints the reason on standard error, and the program goes on.
      # @return [void]
      def open
        # A forked child closes the socket of its parent, and leaves the parent's file alone.
        @server&.close
        @path = Inspection.path(Process.pid, ENV)
        @owner = Process.pid
        @server = bound
        at_exit { remove } unless @registered
        @registered = true
        start
      rescue SystemCallError, ArgumentError => error
        warn("uring_io: URING_IO_INSPECT: #{@path} cannot be opened, so nobody can ask this program: #{error.message}")
      end

      # @return [String] the path of a process's socket
      # @param environment [#[]] of that process
      def path(pid, environment)
        File.join(folder(environment), "uring_io-#{pid}.socket")
      end

      private

      def folder(environment)
        runtime = environment["XDG_RUNTIME_DIR"].to_s
        return runtime if runtime.start_with?("/") && File.directory?(runtime)

        environment.equal?(ENV) ? Dir.tmpdir : environment["TMPDIR"] || "/tmp"
      end

      # The socket gets its name only after chmod, so that nobody but its owner can ever connect. If the name is taken,
      # the file is from an earlier process with this pid, and the rename replaces it.
      def bound
        Dir.mktmpdir("uring_io", File.dirname(@path)) do |folder|
          place = File.join(folder, "s")
          server = UNIXServer.new(place)
          File.chmod(0o600, place)
          File.rename(place, @path)
          server
        rescue StandardError
          server&.close
          raise
        end
      end

      def start
        server = @server
        thread = Thread.new { serve(server) }
        thread.name = "uring_io fibers"
        thread.report_on_exception = false
        @thread = thread
      end

      def serve(server)
        loop { answer(server.accept) }
      rescue SystemCallError
        # For example, the process has no free descriptor.
        sleep(PAUSE)
        retry
      rescue IOError
        # Somebody has closed the socket.
      end

      def answer(socket)
        socket.timeout = PATIENCE
        return unless [0, Process.euid].include?(socket.getpeereid.first)

        socket.write(JSON.generate(Snapshot.take(without: @thread)))
      rescue SystemCallError, IOError
        # The asking process has gone, or has not read the answer in time.
      rescue StandardError => error
        tell(socket, error)
      ensure
        socket.close
      end

      def tell(socket, error)
        socket.write(JSON.generate(error: "#{error.class}: #{error.message.scrub}"))
      rescue SystemCallError, IOError
        # As in +answer+.
      end

      def remove
        File.unlink(@path) if @owner == Process.pid
      rescue SystemCallError
        # Somebody has removed it already.
      end
    end
  end
  private_constant :Inspection
end
