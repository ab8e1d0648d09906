# frozen_string_literal: true

module UringIO
  class Ring
    # One method per operation. Descriptors are IO objects, what converts to one, or Integers; paths are Strings or
    # Pathnames. +timeout+ is in seconds: IO::TimeoutError when it passes first.
    module Operations
      AT_FDCWD = -100
      AT_SYMLINK_NOFOLLOW = 0x100
      AT_REMOVEDIR = 0x200
      AT_EMPTY_PATH = 0x1000
      private_constant :AT_FDCWD, :AT_SYMLINK_NOFOLLOW, :AT_REMOVEDIR, :AT_EMPTY_PATH

      # What posix_fadvise(2) takes.
      ADVICE = { normal: 0, random: 1, sequential: 2, willneed: 3, dontneed: 4, noreuse: 5 }.freeze

      # Nothing at all: for measuring.
      # @return [nil]
      def nop(timeout: nil)
        run(Call.nop, timeout:) { nil }
      end

      # read(2), or pread(2) with an offset (Linux 5.6). Ruby's own buffer of the IO is not looked at.
      # @param length [Integer] at most that many bytes
      # @param offset [Integer, nil] position in the file; nil for the descriptor's own, which moves
      # @return [String, nil] in binary; nil at the end
      def read(io, length, offset: nil, timeout: nil)
        run(Call.read(descriptor(io), length, offset), timeout:) { |bytes| bytes_or_end(bytes, length) }
      end

      # write(2), or pwrite(2) with an offset. What Ruby has in the IO's own buffer is not written first.
      # @param data [String]
      # @return [Integer] bytes written, which may be fewer
      def write(io, data, offset: nil, timeout: nil)
        run(Call.write(descriptor(io), string(data), offset), timeout:)
      end

      # recv(2).
      # @return [String, nil] nil at the end
      def recv(io, length, flags = 0, timeout: nil)
        run(Call.recv(descriptor(io), length, flags), timeout:) { |bytes| bytes_or_end(bytes, length) }
      end

      # send(2). A peer that has gone is Errno::EPIPE, without a signal.
      # @return [Integer] bytes sent, which may be fewer
      def send(io, data, flags = 0, timeout: nil)
        run(Call.send(descriptor(io), string(data), flags), timeout:)
      end

      # openat(2), close-on-exec.
      # @param mode [String, Integer] as for File.open, without encodings
      # @param perm [Integer] of a new file
      # @param dir [IO, Integer, nil] what a relative path starts at; nil for the working directory
      # @return [Integer] the descriptor, which is the caller's to close: IO.for_fd makes an IO of it
      def open(path, mode = "r", perm = 0o666, dir: nil, timeout: nil)
        call = Call.open(dir ? descriptor(dir) : AT_FDCWD, path(path), open_flags(mode), perm)
        run(call, timeout:)
      end

      # close(2), of a descriptor that no IO owns.
      # @param fd [Integer]
      # @return [nil]
      def close_descriptor(fd, timeout: nil)
        raise TypeError, "#{fd.class} given where a descriptor is needed: close an IO itself" unless fd.is_a?(Integer)

        run(Call.close(fd), timeout:) { nil }
      end

      # statx(2), of a path or an open IO.
      # @param follow [Boolean] whether the target of a symbolic link is meant
      # @return [Status]
      def stat(path_or_io, follow: true, timeout: nil)
        call = if path_or_io.is_a?(IO) || path_or_io.is_a?(Integer)
                 Call.stat(descriptor(path_or_io), "", AT_EMPTY_PATH)
               else
                 Call.stat(AT_FDCWD, path(path_or_io), follow ? 0 : AT_SYMLINK_NOFOLLOW)
               end
        run(call, timeout:) { |fields| Status.new(fields) }
      end

      # fsync(2).
      # @return [nil]
      def fsync(io, timeout: nil)
        run(Call.sync(descriptor(io), false), timeout:) { nil }
      end

      # fdatasync(2).
      # @return [nil]
      def fdatasync(io, timeout: nil)
        run(Call.sync(descriptor(io), true), timeout:) { nil }
      end

      # fallocate(2).
      # @param mode [Integer] of fallocate(2): 0 to allocate, and grow the file when it is shorter
      # @return [nil]
      def fallocate(io, length, offset: 0, mode: 0, timeout: nil)
        run(Call.allocate(descriptor(io), mode, offset, length), timeout:) { nil }
      end

      # ftruncate(2) (io_uring: Linux 6.9).
      # @return [nil]
      def ftruncate(io, length, timeout: nil)
        run(Call.truncate(descriptor(io), length), timeout:) { nil }
      end

      # posix_fadvise(2).
      # @param advice [Symbol] a key of ADVICE, as for IO#advise
      # @param length [Integer] 0 for the rest of the file
      # @return [nil]
      def fadvise(io, advice, offset: 0, length: 0, timeout: nil)
        number = ADVICE.fetch(advice) do
          raise ArgumentError, "no advice #{advice.inspect}; there is #{ADVICE.keys.map(&:inspect).join(', ')}"
        end
        run(Call.advise(descriptor(io), offset, length, number), timeout:) { nil }
      end

      # rename(2) (io_uring: Linux 5.11).
      # @return [nil]
      def rename(from, to, timeout: nil)
        run(Call.rename(path(from), path(to)), timeout:) { nil }
      end

      # unlink(2) (io_uring: Linux 5.11).
      # @return [nil]
      def unlink(path, timeout: nil)
        run(Call.unlink(path(path), 0), timeout:) { nil }
      end

      # rmdir(2) (io_uring: Linux 5.11).
      # @return [nil]
      def rmdir(path, timeout: nil)
        run(Call.unlink(path(path), AT_REMOVEDIR), timeout:) { nil }
      end

      # mkdir(2) (io_uring: Linux 5.15).
      # @return [nil]
      def mkdir(path, perm = 0o777, timeout: nil)
        run(Call.mkdir(path(path), perm), timeout:) { nil }
      end

      # symlink(2) (io_uring: Linux 5.15).
      # @return [nil]
      def symlink(target, path, timeout: nil)
        run(Call.symlink(path(target), path(path)), timeout:) { nil }
      end

      # link(2) (io_uring: Linux 5.15).
      # @return [nil]
      def link(from, to, timeout: nil)
        run(Call.link(path(from), path(to)), timeout:) { nil }
      end

      # splice(2): from one descriptor to another, one of which is a pipe (io_uring: Linux 5.7).
      # @param from_offset [Integer, nil] position; nil for the descriptor's own
      # @return [Integer] bytes moved
      def splice(from, to, length, from_offset: nil, to_offset: nil, timeout: nil)
        call = Call.splice(descriptor(from), from_offset || -1, descriptor(to), to_offset || -1, length)
        run(call, timeout:)
      end

      # tee(2): from one pipe to another, and leaves it in the first (io_uring: Linux 5.8).
      # @return [Integer] bytes copied
      def tee(from, to, length, timeout: nil)
        run(Call.tee(descriptor(from), descriptor(to), length), timeout:)
      end

      # socket(2), close-on-exec (io_uring: Linux 5.19).
      # @param domain [Symbol, String, Integer] as for Socket.new
      # @return [Integer] the descriptor, which is the caller's to close: Socket.for_fd makes a Socket of it
      def socket(domain, type = :STREAM, protocol = 0, timeout: nil)
        run(Call.socket(constant(domain, "AF_"), constant(type, "SOCK_"), protocol), timeout:)
      end

      # bind(2) (io_uring: Linux 6.11).
      # @param address [Addrinfo, String] a String as Socket.sockaddr_in makes it
      # @return [nil]
      def bind(io, address, timeout: nil)
        run(Call.bind(descriptor(io), sockaddr(address)), timeout:) { nil }
      end

      # listen(2) (io_uring: Linux 6.11).
      # @return [nil]
      def listen(io, backlog = Socket::SOMAXCONN, timeout: nil)
        run(Call.listen(descriptor(io), backlog), timeout:) { nil }
      end

      # accept(2), close-on-exec.
      # @return [Integer] the descriptor, which is the caller's to close
      def accept(io, timeout: nil)
        run(Call.accept(descriptor(io)), timeout:)
      end

      # connect(2).
      # @return [nil]
      def connect(io, address, timeout: nil)
        run(Call.connect(descriptor(io), sockaddr(address)), timeout:) { nil }
      end

      # shutdown(2) (io_uring: Linux 5.11).
      # @param how [Symbol, Integer] :RD, :WR or :RDWR
      # @return [nil]
      def shutdown(io, how = :RDWR, timeout: nil)
        run(Call.shutdown(descriptor(io), constant(how, "SHUT_")), timeout:) { nil }
      end

      private

      def descriptor(io)
        return io if io.is_a?(Integer)

        found = IO.try_convert(io)
        raise TypeError, "#{io.class} given where an IO or a descriptor is needed" unless found

        found.fileno
      end

      def path(path)
        path.respond_to?(:to_path) ? path.to_path : string(path)
      end

      def string(object)
        String.try_convert(object) || raise(TypeError, "#{object.class} given where a String is needed")
      end

      def sockaddr(address)
        address.is_a?(Addrinfo) ? address.to_sockaddr : string(address)
      end

      def constant(name, prefix)
        return name if name.is_a?(Integer)

        Socket.const_get("#{prefix}#{name.to_s.delete_prefix(prefix)}")
      rescue NameError
        raise ArgumentError, "no constant #{prefix}#{name} in Socket"
      end

      # Ruby's own reading of modes, which it shows to nobody else.
      MODES = { "r" => File::RDONLY, "r+" => File::RDWR, "w" => File::WRONLY | File::CREAT | File::TRUNC,
                "w+" => File::RDWR | File::CREAT | File::TRUNC, "a" => File::WRONLY | File::CREAT | File::APPEND,
                "a+" => File::RDWR | File::CREAT | File::APPEND, "wx" => File::WRONLY | File::CREAT | File::EXCL,
                "w+x" => File::RDWR | File::CREAT | File::EXCL }.freeze
      private_constant :MODES

      def open_flags(mode)
        return mode if mode.is_a?(Integer)

        MODES.fetch(string(mode).delete("bt")) do
          raise ArgumentError, "invalid access mode #{mode.inspect}; there are #{MODES.keys.join(', ')}"
        end
      end

      def bytes_or_end(bytes, length)
        bytes.empty? && length.positive? ? nil : bytes
      end
    end
  end
end
