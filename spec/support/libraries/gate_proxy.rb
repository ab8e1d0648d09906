# frozen_string_literal: true

require_relative "threaded_server"

module Libraries
  # Stands in front of a real server on a UNIX socket, and holds a client's data at the gate when it contains a word of
  # the gate.
  class GateProxy < ThreadedServer
    def initialize(gate, path)
      @path = path
      super(gate)
    end

    private

    def serve(client)
      upstream = UNIXSocket.new(@path)
      back = Thread.new { copy(upstream, client) }
      copy(client, upstream) { |chunk| meet(chunk) }
      back.join
    ensure
      back&.kill&.join
      upstream&.close
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
      nil # the other end has gone as well
    end
  end
end
