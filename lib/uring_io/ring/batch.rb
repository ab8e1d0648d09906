# frozen_string_literal: true

module UringIO
  class Ring
    # Calls that start together: see Ring#batch. It has the methods of Operations; each returns the index of its result.
    class Batch
      include Operations

      # @!method discard
      #   Releases the objects that its calls hold, when nobody will make them. Repeatable.
      #   @api private
      #   @raise [Error] while the batch runs

      # (see Operations#read)
      def read(io, into, offset: nil, timeout: nil)
        add_read(io, into, offset, timeout) || super
      end

      # (see Operations#write)
      def write(io, data, offset: nil, timeout: nil)
        add_write(io, data, offset, timeout) || super
      end

      # (see Operations#recv)
      def recv(io, into, flags = 0, timeout: nil)
        add_recv(io, into, flags, timeout) || super
      end

      # (see Operations#send)
      def send(io, data, flags = 0, timeout: nil)
        add_send(io, data, flags, timeout) || super
      end

      private

      def run(call, timeout: nil, &convert)
        add(call, timeout, @ios, convert)
      ensure
        @ios = nil
      end

      def descriptor(io)
        (@ios ||= []) << io
        super
      end
    end
  end
end
