# frozen_string_literal: true

require "json"
require "socket"
require "tmpdir"
require_relative "inspection/snapshot"

module UringIO
  # The socket by which <tt>uring_io fibers --pid</tt> asks this program what its fibers wait for. A program that starts
  # with URING_IO_INSPECT=1 opens it. A thread answers, so that it can do so while a fiber computes.
  module Inspection
    # Seconds that the asking process has to read the answer.
    PATIENCE = 5
    # Seconds until it tries again when it could not accept.
    PAUSE = 0.2
    private_constant :PATIENCE, :PAUSE

    class << self
      # Opens the socket of this process, and says on standard error why when it cannot. The program goes on.
      # @return [void]
      def open
        # A child has its parent's, and leaves its file alone.
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

      # @return [String] the name of a process's socket
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

      # It gets its name when only its owner may connect. A file of that name is of a process that had this number.
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
        # No descriptor is free, for one.
        sleep(PAUSE)
        retry
      rescue IOError
        # Closed, as this is a child by now.
      end

      def answer(socket)
        socket.timeout = PATIENCE
        return unless [0, Process.euid].include?(socket.getpeereid.first)

        socket.write(JSON.generate(Snapshot.take(without: @thread)))
      rescue SystemCallError, IOError
        # The asking process went away.
      rescue StandardError => error
        tell(socket, error)
      ensure
        socket.close
      end

      def tell(socket, error)
        socket.write(JSON.generate(error: "#{error.class}: #{error.message.scrub}"))
      rescue SystemCallError, IOError
        # As above.
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
