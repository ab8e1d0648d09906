# frozen_string_literal: true

module UringIO
  class Ring
    # Converts ancillary data of messages between Ruby's objects and the layout of cmsg(3).
    module Messages
      # struct cmsghdr on Linux: size_t, int, int.
      HEADER = "J i i"
      # The size of that header in bytes.
      HEADER_SIZE = [0, 0, 0].pack(HEADER).bytesize
      # The alignment of each piece in bytes.
      WORD = [0].pack("J").bytesize

      class << self
        # @param controls [Array<Socket::AncillaryData>]
        def pack(controls)
          controls.map { |control| pack_one(control) }.join
        end

        # @param found [Array] data, address, flags, and an array of pieces: level, type and bytes of each
        def received(io, found, scm_rights)
          data, address, flags, controls = found
          family = family_of(io, address)
          pieces = controls.map { |level, type, bytes| ancillary(family, level, type, bytes, scm_rights) }.compact
          return if data.empty? && pieces.empty? && !datagrams?(io)

          [data, sender(address), flags, *pieces]
        end

        private

        def pack_one(control)
          unless control.is_a?(Socket::AncillaryData)
            raise TypeError, "#{control.class} given where a Socket::AncillaryData is needed"
          end

          bytes = control.data
          packed = [HEADER_SIZE + bytes.bytesize, control.level, control.type].pack(HEADER) + bytes
          packed + ("\0" * (-packed.bytesize % WORD))
        end

        def ancillary(family, level, type, bytes, scm_rights)
          unless level == Socket::SOL_SOCKET && type == Socket::SCM_RIGHTS
            return Socket::AncillaryData.new(family, level, type, bytes)
          end

          ios = bytes.unpack("i*").map { |descriptor| IO.for_fd(descriptor) }
          return Socket::AncillaryData.unix_rights(*ios) if scm_rights

          ios.each(&:close)
          nil
        end

        def sender(address)
          Addrinfo.new(address.empty? ? [Socket::AF_UNSPEC].pack("S") : address)
        end

        def family_of(io, address)
          return address.unpack1("S") if address.bytesize >= 2

          io.is_a?(BasicSocket) ? io.local_address.afamily : Socket::AF_UNSPEC
        end

        # Whether an empty message is a datagram, and not the end: BasicSocket#recvmsg has the same rule.
        def datagrams?(io)
          io = IO.try_convert(io) || io
          return false unless io.is_a?(IO) || io.is_a?(Integer)

          socket = io.is_a?(BasicSocket) ? io : borrowed(io.to_i)
          socket.getsockopt(:SOCKET, :TYPE).int == Socket::SOCK_DGRAM
        rescue SystemCallError, IOError
          false # Somebody has closed it in the meantime.
        end

        # A Socket that leaves its descriptor open, whatever is raised into this thread meanwhile.
        def borrowed(descriptor)
          Thread.handle_interrupt(Object => :never) do
            Socket.for_fd(descriptor).tap { |socket| socket.autoclose = false }
          end
        end
      end
    end
    private_constant :Messages
  end
end
