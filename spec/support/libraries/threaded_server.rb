# frozen_string_literal: true

require "socket"

module Libraries
  # A TCP server in the suite's own process, with a thread for each connection. Subclasses define +serve(client)+.
  class ThreadedServer
    attr_reader :port

    # +gate+ is a lambda that returns the current gate.
    def initialize(gate)
      @gate = gate
      @server = TCPServer.new("127.0.0.1", 0)
      @port = @server.local_address.ip_port
      @threads = Thread::Queue.new
      @threads << Thread.new { accept }
    end

    def address
      { host: "127.0.0.1", port: }
    end

    def stop
      @server.close
      @threads.pop.kill.join until @threads.empty?
    end

    private

    def accept
      loop do
        client = @server.accept
        client.setsockopt(:TCP, :NODELAY, true)
        @threads << Thread.new { serve_and_close(client) }
      end
    rescue IOError
      nil # stopped
    end

    def serve_and_close(client)
      serve(client)
    rescue SystemCallError, IOError
      nil # the client has gone
    ensure
      client.close
    end

    # Waits for the other parties if the text contains a word of the gate.
    def meet(text)
      word = text[Gate::WORD]
      @gate.call.pass(word) if word
    end
  end
end
