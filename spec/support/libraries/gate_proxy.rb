# frozen_string_literal: true

require "socket"

module Libraries
  # Stands on a TCP port before a real server, and holds at the gate whatever a client sends with the word GATHER.
  class GateProxy
    attr_reader :port

    # The block connects to the real server. +gate+ returns the present gate.
    def initialize(gate, &connect)
      @gate = gate
      @connect = connect
      @server = TCPServer.new("127.0.0.1", 0)
      @port = @server.local_address.ip_port
      @threads = Thread::Queue.new
      @threads << Thread.new { accept }
    end

    def stop
      @server.close
      @threads.pop.kill.join until @threads.empty?
    end

    private

    def accept
      loop do
        client = @server.accept
        @threads << Thread.new { serve(client) }
      end
    rescue IOError
      nil # stopped
    end

    def serve(client)
      client.setsockopt(:TCP, :NODELAY, true)
      upstream = @connect.call
      back = Thread.new { copy(upstream, client) }
      copy(client, upstream) { |chunk| @gate.call.pass if chunk.include?(GATHER) }
      back.join
    ensure
      back&.kill
      [client, upstream].compact.each(&:close)
    end

    def copy(from, to)
      loop do
        chunk = from.readpartial(65_536)
        yield chunk if block_given?
        to.write(chunk)
      end
    rescue SystemCallError, IOError
      pass_end_on(to)
    end

    def pass_end_on(to)
      to.close_write
    rescue SystemCallError, IOError
      nil # that end is gone as well
    end
  end
end
