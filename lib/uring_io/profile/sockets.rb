# frozen_string_literal: true

require "socket"

module UringIO
  class Profile
    # Finds the peers of a process's sockets by their inodes. /proc/PID/net lists internet sockets. It does not show the
    # other end of UNIX sockets, so we ask the kernel by netlink (sock_diag(7)).
    class Sockets
      # A socket. Its +role+ is :client (it connected), :accepted (it serves a client), :listening, or :other (one of a
      # pair, or not connected). +place+ is an "address:port" or a path: the peer's for a client, the server's own for
      # the others, and nil when there is none.
      End = Data.define(:role, :place)

      # The usual server behind a port, or behind the name of a UNIX socket.
      PORTS = { 22 => "ssh", 25 => "smtp", 53 => "dns", 80 => "http", 443 => "https", 465 => "smtp", 587 => "smtp",
                3306 => "mysql", 5432 => "postgresql", 5671 => "amqp", 5672 => "amqp", 6379 => "redis",
                6380 => "redis", 9092 => "kafka", 9200 => "elasticsearch", 11_211 => "memcached",
                27_017 => "mongodb" }.freeze
      PATHS = { /PGSQL/ => "postgresql", /mysql|mariadb/ => "mysql", /redis/ => "redis",
                /memcached/ => "memcached", /docker/ => "docker" }.freeze

      LISTENING = "0A"
      # Seconds between two reads of the kernel's tables, at least. We read them again when an inode is missing.
      PATIENCE = 0.05
      private_constant :LISTENING, :PATIENCE

      # @return [String, nil] the service that usually is behind +place+, an "address:port" or a path
      def self.service(place)
        return PATHS.find { |pattern, _| pattern.match?(place) }&.last if place.start_with?("/", "@")

        PORTS[place[/\d+\z/].to_i]
      end

      def initialize(pid)
        @pid = pid
        @ends = {}
        @read_at = -Float::INFINITY
      end

      # @return [End, nil] of the socket with +inode+; nil when the kernel does not list it
      def [](inode)
        found = @ends[inode]
        # A socket without a peer may have connected in the meantime.
        return found if found && found.role != :other

        read_again
        @ends[inode]
      end

      private

      def read_again
        now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        return if now - @read_at < PATIENCE

        @read_at = now
        @ends = UnixSockets.ends.merge(internet)
      end

      def internet
        lines = { "tcp" => 4, "udp" => 4, "tcp6" => 16, "udp6" => 16 }.flat_map { |table, size| lines(table, size) }
        served = lines.select { |line| line[:state] == LISTENING }.map { |line| line[:local].last }
        lines.to_h { |line| [line[:inode], internet_end(line, served)] }
      end

      def lines(table, size)
        File.foreach("/proc/#{@pid}/net/#{table}").drop(1).map do |line|
          _, local, remote, state, _, _, _, _, _, inode = line.split
          { local: address(local, size), remote: address(remote, size), state:, inode: inode.to_i }
        end
      rescue SystemCallError
        [] # This kernel has no such protocol, or the process is gone.
      end

      def internet_end(line, served)
        return End.new(:listening, line[:local].join(":")) if line[:state] == LISTENING
        return End.new(:other, nil) if line[:remote].last.zero?
        return End.new(:accepted, line[:local].join(":")) if served.include?(line[:local].last)

        End.new(:client, line[:remote].join(":"))
      end

      # "0100007F:1538" is 127.0.0.1 and 5432: words of 32 bits in the processor's byte order.
      def address(text, size)
        host, port = text.split(":")
        bytes = [host].pack("H*").unpack("N*").pack("L*")
        name = size == 4 ? bytes.bytes.join(".") : IPv6.name(bytes)
        [name, port.hex]
      end

      # The usual way to write an address of 16 bytes.
      module IPv6
        MAPPED = ("\0" * 10).b << "\xff\xff".b
        private_constant :MAPPED

        def self.name(bytes)
          return bytes.byteslice(12, 4).bytes.join(".") if bytes.start_with?(MAPPED)

          "[#{Addrinfo.tcp(bytes.unpack('n8').map { |word| word.to_s(16) }.join(':'), 0).ip_address}]"
        end
      end
      private_constant :IPv6

      # All UNIX sockets of this network namespace, by sock_diag(7).
      module UnixSockets
        NETLINK = 16
        SOCK_DIAG = 4
        SOCK_DIAG_BY_FAMILY = 20
        REQUEST_DUMP = 0x301
        SHOW_NAME_AND_PEER = 0x1 | 0x4
        NAME = 0
        PEER = 2
        DONE = 3
        ERROR = 2
        LISTEN = 10
        Found = Struct.new(:name, :peer, :state)
        private_constant :NETLINK, :SOCK_DIAG, :SOCK_DIAG_BY_FAMILY, :REQUEST_DUMP, :SHOW_NAME_AND_PEER, :NAME, :PEER,
                         :DONE, :ERROR, :LISTEN, :Found

        class << self
          # @return [Hash{Integer => End}] by inode; empty when the kernel does not answer
          def ends
            found = dump
            found.transform_values { |socket| unix_end(socket, found[socket.peer]) }
          rescue SystemCallError
            {}
          end

          private

          # The accepting end has the name of the server. The connecting end usually has no name.
          def unix_end(socket, other)
            return End.new(:listening, socket.name) if socket.state == LISTEN
            return End.new(:accepted, socket.name) if socket.name

            End.new(other&.name ? :client : :other, other&.name)
          end

          def dump
            socket = Socket.new(NETLINK, Socket::SOCK_RAW, SOCK_DIAG)
            body = [Socket::AF_UNIX, 0, 0, 0xffffffff, 0, SHOW_NAME_AND_PEER, 0, 0].pack("CCSL5")
            socket.send([16 + body.bytesize, SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 1, 0].pack("LSSLL") + body, 0)
            found = {}
            nil until messages(socket.recv(1 << 17)) { |message| add(found, message) } == :done
            found
          ensure
            socket&.close
          end

          def messages(bytes)
            return :done if bytes.nil? || bytes.empty?

            while bytes.bytesize >= 16
              length, type = bytes.unpack("LS")
              return :done if [DONE, ERROR].include?(type) || length < 16

              yield bytes.byteslice(16, length - 16)
              bytes = bytes.byteslice((length + 3) & ~3..) || +""
            end
            :more
          end

          # An abstract name begins with a zero byte, which we write as @.
          def path(bytes)
            bytes.sub(/\A\0/n, "@").delete_suffix("\0").force_encoding(Encoding::UTF_8).scrub
          end

          def add(found, message)
            _, _, state, _, inode = message.unpack("CCCCL")
            socket = found[inode] = Found.new(nil, nil, state)
            rest = message.byteslice(16..)
            while rest && rest.bytesize >= 4
              length, type = rest.unpack("SS")
              break if length < 4

              value = rest.byteslice(4, length - 4)
              socket.name = path(value) if type == NAME
              socket.peer = value.unpack1("L") if type == PEER
              rest = rest.byteslice((length + 3) & ~3..)
            end
          end
        end
      end
      private_constant :UnixSockets
    end
  end
end
