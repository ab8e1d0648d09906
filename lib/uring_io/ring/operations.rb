# frozen_string_literal: true

module UringIO
  class Ring
    # One method per operation. Descriptors are IO objects, what converts to one, or Integers; paths are Strings or
    # Pathnames; sizes and offsets are in bytes. +timeout+ is in seconds: IO::TimeoutError when it passes first. What
    # opens something answers with its descriptor, close-on-exec, which is the caller's to close. The kernel that each
    # is said to need is for io_uring; the other backends make the system call.
    module Operations
      # What posix_fadvise(2) takes.
      ADVICE = { normal: 0, random: 1, sequential: 2, willneed: 3, dontneed: 4, noreuse: 5 }.freeze
      # What madvise(2) takes of what leaves the memory as it is, and the Linux that brought it: cold and pageout 5.4,
      # populate_read and populate_write 5.14, the others before 5.6.
      MEMORY_ADVICE = { normal: 0, random: 1, sequential: 2, willneed: 3, hugepage: 14, nohugepage: 15, cold: 20,
                        pageout: 21, populate_read: 22, populate_write: 23 }.freeze
      # How openat2(2) may resolve a path.
      RESOLVE = { no_xdev: 0x01, no_magiclinks: 0x02, no_symlinks: 0x04, beneath: 0x08, in_root: 0x10,
                  cached: 0x20 }.freeze
      # What renameat2(2) may do.
      RENAME = { noreplace: 1, exchange: 2 }.freeze
      # What sync_file_range(2) may wait for and do.
      SYNC_RANGE = { wait_before: 1, write: 2, wait_after: 4 }.freeze
      # What setxattr(2) may insist on.
      XATTR = { create: 1, replace: 2 }.freeze

      # Nothing at all: for measuring.
      # @return [nil]
      def nop(timeout: nil)
        run(Call.nop, timeout:)
      end

      # read(2), or pread(2) with an offset (Linux 5.6). Ruby's own buffer of the IO is not looked at.
      # @param into [Integer, IO::Buffer] at most that many bytes, or a buffer to be filled from its beginning
      # @param offset [Integer, nil] position in the file; nil for the descriptor's own, which moves. io_uring does not
      #   look at it for what has no positions (pipes, sockets), where the other backends raise Errno::ESPIPE
      # @return [String, nil] in binary, nil at the end; or the number of bytes in the buffer, 0 at the end
      def read(io, into, offset: nil, timeout: nil)
        run(Call.read(descriptor(io), room(into), offset), timeout:)
      end

      # write(2), or pwrite(2) with an offset (Linux 5.6). What Ruby has in the IO's own buffer is not written first.
      # @param data [String, IO::Buffer]
      # @return [Integer] bytes written, which may be fewer
      def write(io, data, offset: nil, timeout: nil)
        run(Call.write(descriptor(io), bytes(data), offset), timeout:)
      end

      # readv(2), or preadv(2) with an offset: fills one buffer after the other.
      # @param buffers [Array<IO::Buffer>] at most 1024, which own their memory
      # @return [Integer] bytes read, 0 at the end
      def readv(io, buffers, offset: nil, timeout: nil)
        run(Call.readv(descriptor(io), array(buffers), offset), timeout:)
      end

      # writev(2), or pwritev(2) with an offset.
      # @param data [Array<String, IO::Buffer>] at most 1024
      # @return [Integer] bytes written, which may be fewer
      def writev(io, data, offset: nil, timeout: nil)
        run(Call.writev(descriptor(io), array(data).map { |piece| bytes(piece) }, offset), timeout:)
      end

      # As #read, into registered memory: see Ring#register. io_uring only.
      # @param buffer [RegisteredBuffer]
      # @param length [Integer, nil] nil for the rest of the buffer
      # @param at [Integer] position in the buffer
      # @return [Integer] bytes read, 0 at the end
      def read_fixed(io, buffer, length = nil, at: 0, offset: nil, timeout: nil)
        run(Call.fixed(descriptor(io), buffer, range(buffer, at, length), offset, false), timeout:)
      end

      # As #write, from registered memory: see Ring#register. io_uring only.
      # @param buffer [RegisteredBuffer]
      # @param length [Integer, nil] nil for the rest of the buffer
      # @param at [Integer] position in the buffer
      # @return [Integer] bytes written, which may be fewer
      def write_fixed(io, buffer, length = nil, at: 0, offset: nil, timeout: nil)
        run(Call.fixed(descriptor(io), buffer, range(buffer, at, length), offset, true), timeout:)
      end

      # recv(2).
      # @param into [Integer, IO::Buffer] as for #read
      # @param flags [Integer] of recv(2); Socket::MSG_WAITALL waits for all of it on io_uring only
      # @return [String, Integer, nil] as #read
      def recv(io, into, flags = 0, timeout: nil)
        run(Call.recv(descriptor(io), room(into), flags), timeout:)
      end

      # send(2). A peer that has gone is Errno::EPIPE, without a signal.
      # @param data [String, IO::Buffer]
      # @return [Integer] bytes sent, which may be fewer; with Socket::MSG_WAITALL all of them on io_uring (Linux 5.19)
      def send(io, data, flags = 0, timeout: nil)
        run(Call.send(descriptor(io), bytes(data), flags), timeout:)
      end

      # As #send, without copying the data into the kernel (Linux 6.0). Worth it from some ten kilobytes on, to other
      # machines only. An IO::Buffer stays locked until the peer has acknowledged what was sent: it is unlocked by the
      # next call of the ring after that. io_uring only.
      # @param data [String, IO::Buffer] a frozen String, or a buffer that owns its memory
      # @param threshold [Integer] smaller data is copied after all
      # @return [Integer] bytes sent, which may be fewer
      def send_zc(io, data, flags = 0, threshold: 32_768, timeout: nil)
        size = data.is_a?(IO::Buffer) ? data.size : string(data).bytesize
        make = size < threshold ? :send : :send_zc
        run(Call.public_send(make, descriptor(io), bytes(data), flags), timeout:)
      end

      # recvmsg(2), as BasicSocket#recvmsg. Descriptors that come along are closed, unless they are asked for.
      # @param length [Integer] at most that many bytes of data
      # @param controllen [Integer] at most that many bytes of ancillary data
      # @param scm_rights [Boolean] whether descriptors are wanted: AncillaryData#unix_rights has them as IOs
      # @return [Array(String, Addrinfo, Integer, *Socket::AncillaryData), nil] data, sender, flags, ancillary data;
      #   nil at the end of a stream
      def recvmsg(io, length, flags = 0, controllen: 4096, scm_rights: false, timeout: nil)
        call = Call.recvmsg(descriptor(io), length, controllen, flags)
        run(call, timeout:) { |found| Messages.received(io, found, scm_rights) }
      end

      # sendmsg(2), as BasicSocket#sendmsg. A datagram waits while the queue of a UNIX socket is full.
      # @param data [String, IO::Buffer]
      # @param address [Addrinfo, String, nil] nil for a connected socket
      # @param controls [Array<Socket::AncillaryData>]
      # @return [Integer] bytes sent, which may be fewer
      def sendmsg(io, data, flags = 0, address = nil, *controls, timeout: nil)
        address &&= sockaddr(address)
        packed = Messages.pack(controls)
        run(Call.sendmsg(descriptor(io), bytes(data), address, packed, flags), timeout:)
      end

      # openat(2), or openat2(2) with +resolve+. Of a FIFO it waits for the other end, unless +mode+ has
      # File::NONBLOCK.
      # @param mode [String, Integer] as for File.open, without encodings
      # @param perm [Integer] of a new file
      # @param dir [IO, Integer, nil] what a relative path starts at; nil for the working directory
      # @param resolve [Array<Symbol>, Symbol, Integer, nil] keys of RESOLVE: what the path must not do
      # @return [Integer] the descriptor: IO.for_fd makes an IO of it
      def open(path, mode = "r", perm = 0o666, dir: nil, resolve: nil, timeout: nil)
        arguments = [directory(dir), path(path), open_flags(mode), perm]
        call = resolve ? Call.openat2(*arguments, flags(resolve, RESOLVE, "resolve")) : Call.open(*arguments)
        run(call, timeout:)
      end

      # close(2), of a descriptor that no IO owns.
      # @param fd [Integer]
      # @return [nil]
      def close_descriptor(fd, timeout: nil)
        raise TypeError, "#{fd.class} given where a descriptor is needed: close an IO itself" unless fd.is_a?(Integer)

        run(Call.close(fd), timeout:)
      end

      # statx(2), of a path or an open IO.
      # @param follow [Boolean] whether the target of a symbolic link is meant
      # @return [Status]
      def stat(path_or_io, follow: true, timeout: nil)
        call = if path_or_io.is_a?(IO) || path_or_io.is_a?(Integer)
                 Call.stat(directory(path_or_io), "", Call::AT_EMPTY_PATH)
               else
                 Call.stat(Call::AT_FDCWD, path(path_or_io), follow ? 0 : Call::AT_SYMLINK_NOFOLLOW)
               end
        run(call, timeout:) { |fields| Status.new(fields) }
      end

      # fsync(2).
      # @return [nil]
      def fsync(io, timeout: nil)
        run(Call.sync(descriptor(io), false), timeout:)
      end

      # fdatasync(2).
      # @return [nil]
      def fdatasync(io, timeout: nil)
        run(Call.sync(descriptor(io), true), timeout:)
      end

      # sync_file_range(2), which says nothing of metadata: for a promise there is #fdatasync.
      # @param length [Integer] 0 for the rest of the file
      # @param flags [Array<Symbol>, Symbol, Integer] keys of SYNC_RANGE
      # @return [nil]
      def sync_file_range(io, offset: 0, length: 0, flags: %i[wait_before write wait_after], timeout: nil)
        bits = flags(flags, SYNC_RANGE, "flags")
        run(Call.sync_range(descriptor(io), offset, length, bits), timeout:)
      end

      # fallocate(2).
      # @param mode [Integer] of fallocate(2): 0 to allocate, and grow the file when it is shorter
      # @return [nil]
      def fallocate(io, length, offset: 0, mode: 0, timeout: nil)
        run(Call.allocate(descriptor(io), mode, offset, length), timeout:)
      end

      # ftruncate(2) (Linux 6.9).
      # @return [nil]
      def ftruncate(io, length, timeout: nil)
        run(Call.truncate(descriptor(io), length), timeout:)
      end

      # posix_fadvise(2).
      # @param advice [Symbol] a key of ADVICE, as for IO#advise
      # @param length [Integer] 0 for the rest of the file
      # @return [nil]
      def fadvise(io, advice, offset: 0, length: 0, timeout: nil)
        number = flags(advice, ADVICE, "advice")
        run(Call.advise(descriptor(io), offset, length, number), timeout:)
      end

      # madvise(2): what is to come of memory, such as a file in IO::Buffer.map (Linux 5.6). The advice is for whole
      # pages.
      # @param buffer [IO::Buffer] one that owns its memory; locked meanwhile
      # @param advice [Symbol] a key of MEMORY_ADVICE
      # @param at [Integer] position in the buffer; Errno::EINVAL when no page begins there
      # @param length [Integer, nil] at most 0x7ffff000; nil for the rest of the buffer
      # @return [nil]
      def madvise(buffer, advice, at: 0, length: nil, timeout: nil)
        number = MEMORY_ADVICE.fetch(advice) do
          raise ArgumentError, "no advice #{advice.inspect}; there is #{MEMORY_ADVICE.keys.map(&:inspect).join(', ')}"
        end
        run(Call.advise_memory(buffer, at, length, number), timeout:)
      end

      # rename(2), or renameat2(2) with flags (Linux 5.11).
      # @param flags [Array<Symbol>, Symbol, Integer] keys of RENAME
      # @return [nil]
      def rename(from, to, flags: 0, timeout: nil)
        run(Call.rename(path(from), path(to), flags(flags, RENAME, "flags")), timeout:)
      end

      # unlink(2) (Linux 5.11).
      # @return [nil]
      def unlink(path, timeout: nil)
        run(Call.unlink(path(path), 0), timeout:)
      end

      # rmdir(2) (Linux 5.11).
      # @return [nil]
      def rmdir(path, timeout: nil)
        run(Call.unlink(path(path), Call::AT_REMOVEDIR), timeout:)
      end

      # mkdir(2) (Linux 5.15).
      # @return [nil]
      def mkdir(path, perm = 0o777, timeout: nil)
        run(Call.mkdir(path(path), perm), timeout:)
      end

      # symlink(2) (Linux 5.15).
      # @return [nil]
      def symlink(target, path, timeout: nil)
        run(Call.symlink(path(target), path(path)), timeout:)
      end

      # link(2) (Linux 5.15).
      # @return [nil]
      def link(from, to, timeout: nil)
        run(Call.link(path(from), path(to)), timeout:)
      end

      # getxattr(2), of a path or an open IO (Linux 5.19).
      # @param size [Integer] at most that many bytes, Errno::ERANGE when there are more; 0 asks how many there are
      # @return [String, Integer] in binary; the number of bytes for a size of 0
      def getxattr(path_or_io, name, size = 65_536, timeout: nil)
        run(Call.getxattr(subject(path_or_io), string(name), size), timeout:)
      end

      # setxattr(2), of a path or an open IO (Linux 5.19).
      # @param value [String]
      # @param flags [Array<Symbol>, Symbol, Integer] keys of XATTR
      # @return [nil]
      def setxattr(path_or_io, name, value, flags: 0, timeout: nil)
        bits = flags(flags, XATTR, "flags")
        run(Call.setxattr(subject(path_or_io), string(name), string(value), bits), timeout:)
      end

      # splice(2): from one descriptor to another, one of which is a pipe (Linux 5.7).
      # @param from_offset [Integer, nil] position; nil for the descriptor's own
      # @return [Integer] bytes moved
      def splice(from, to, length, from_offset: nil, to_offset: nil, timeout: nil)
        call = Call.splice(descriptor(from), from_offset || -1, descriptor(to), to_offset || -1, length)
        run(call, timeout:)
      end

      # tee(2): from one pipe to another, and leaves it in the first (Linux 5.8).
      # @return [Integer] bytes copied
      def tee(from, to, length, timeout: nil)
        run(Call.tee(descriptor(from), descriptor(to), length), timeout:)
      end

      # pipe2(2) (Linux 6.16).
      # @param flags [Integer] File::NONBLOCK, or what else pipe2(2) takes
      # @return [Array(Integer, Integer)] descriptors to read from and to write to: IO.for_fd makes IOs of them
      def pipe(flags = 0, timeout: nil)
        run(Call.pipe(flags), timeout:)
      end

      # socket(2) (Linux 5.19).
      # @param domain [Symbol, String, Integer] as for Socket.new
      # @return [Integer] the descriptor: Socket.for_fd makes a Socket of it
      def socket(domain, type = :STREAM, protocol = 0, timeout: nil)
        run(Call.socket(constant(domain, "AF_"), constant(type, "SOCK_"), protocol), timeout:)
      end

      # bind(2) (Linux 6.11).
      # @param address [Addrinfo, String] a String as Socket.sockaddr_in makes it
      # @return [nil]
      def bind(io, address, timeout: nil)
        run(Call.bind(descriptor(io), sockaddr(address)), timeout:)
      end

      # listen(2) (Linux 6.11).
      # @return [nil]
      def listen(io, backlog = Socket::SOMAXCONN, timeout: nil)
        run(Call.listen(descriptor(io), backlog), timeout:)
      end

      # accept(2).
      # @return [Integer] the descriptor: Socket.for_fd makes a Socket of it
      def accept(io, timeout: nil)
        run(Call.accept(descriptor(io)), timeout:)
      end

      # connect(2).
      # @return [nil]
      def connect(io, address, timeout: nil)
        run(Call.connect(descriptor(io), sockaddr(address)), timeout:)
      end

      # setsockopt(2), as BasicSocket#setsockopt (Linux 6.7). io_uring says Errno::ENOTSUP of what is no socket, which
      # is Errno::ENOTSOCK elsewhere, and on some kernels of sockets that are neither IPv4 nor IPv6.
      # @param level [Symbol, String, Integer] :SOCKET, or a protocol: :IP, :IPV6, :TCP or :UDP
      # @param optname [Symbol, String, Integer] such as :REUSEADDR and :NODELAY, or as the constant of Socket
      # @param optval [Boolean, Integer, String] a number of 32 bits; a String of bytes is taken as it is, such as
      #   Socket::Option#data
      # @return [nil]
      def setsockopt(io, level, optname, optval, timeout: nil)
        option = option(level, optname, optval)
        run(Call.setsockopt(descriptor(io), option.level, option.optname, option.data), timeout:)
      end

      # shutdown(2) (Linux 5.11).
      # @param how [Symbol, Integer] :RD, :WR or :RDWR
      # @return [nil]
      def shutdown(io, how = :RDWR, timeout: nil)
        run(Call.shutdown(descriptor(io), constant(how, "SHUT_")), timeout:)
      end

      # poll(2) of one descriptor.
      # @param events [Integer] a sum of IO::READABLE, IO::PRIORITY and IO::WRITABLE
      # @return [Integer] those that are there
      def poll(io, events, timeout: nil)
        run(Call.poll(descriptor(io), events), timeout:)
      end

      # Lets time pass.
      # @param seconds [Numeric]
      # @return [nil]
      def timeout(seconds)
        run(Call.timeout(seconds))
      end

      # waitid(2): waits for a child of this process (Linux 6.7). On the other backends for one child by its number.
      # @param kind [Symbol] :pid, :pgid, :pidfd or :all
      # @param id [Integer] of the process or group, or the descriptor; 0 for :all and for the caller's own group
      # @param events [Array<Symbol>, Symbol] of :exited, :stopped and :continued
      # @param reap [Boolean] false leaves the child to be waited for again: Process.wait then sets $?
      # @return [Child] what became of it
      def waitid(kind, id = 0, events: :exited, reap: true, timeout: nil)
        options = flags(events, Child::EVENTS, "events") | (reap ? 0 : Child::NOWAIT)
        run(Call.waitid(flags(kind, Child::KINDS, "kind"), id, options), timeout:) { |fields| Child.from(fields) }
      end

      # futex(2): waits while a number of 32 bits has a value (Linux 6.7). io_uring only.
      # @param buffer [IO::Buffer] one that owns its memory, and stays locked meanwhile
      # @param value [Integer] of 32 bits without sign, in the byte order of this machine
      # @param at [Integer] its position in the buffer, a multiple of 4
      # @return [Boolean] true when somebody woke it, false when the number was another
      def futex_wait(buffer, value, at: 0, timeout: nil)
        call = Call.futex_wait(buffer, at, value)
        run(call, timeout:) { true }
      rescue Errno::EAGAIN
        false
      end

      # futex(2): wakes those who wait for a number (Linux 6.7), of this process.
      # @param count [Integer] at most that many
      # @return [Integer] how many there were
      def futex_wake(buffer, count = 1, at: 0, timeout: nil)
        run(Call.futex_wake(buffer, at, count), timeout:)
      end

      private

      def descriptor(io)
        return io if io.is_a?(Integer)

        found = IO.try_convert(io)
        raise TypeError, "#{io.class} given where an IO or a descriptor is needed" unless found

        found.fileno
      end

      def directory(io)
        io ? descriptor(io) : Call::AT_FDCWD
      end

      def subject(path_or_io)
        path_or_io.is_a?(IO) || path_or_io.is_a?(Integer) ? descriptor(path_or_io) : path(path_or_io)
      end

      def path(path)
        path.respond_to?(:to_path) ? path.to_path : string(path)
      end

      def string(object)
        String.try_convert(object) || raise(TypeError, "#{object.class} given where a String is needed")
      end

      def array(object)
        Array.try_convert(object) || raise(TypeError, "#{object.class} given where an Array is needed")
      end

      # What is read into.
      def room(into)
        return into if into.is_a?(Integer) || into.is_a?(IO::Buffer)

        raise TypeError, "#{into.class} given where a number of bytes or an IO::Buffer is needed"
      end

      # What is written.
      def bytes(data)
        data.is_a?(IO::Buffer) ? data : string(data)
      end

      def range(buffer, at, length)
        unless buffer.is_a?(RegisteredBuffer)
          raise TypeError, "#{buffer.class} given where a RegisteredBuffer is needed: see UringIO::Ring#register"
        end

        [at, length || [buffer.buffer.size - at, 0].max]
      end

      def sockaddr(address)
        address.is_a?(Addrinfo) ? address.to_sockaddr : string(address)
      end

      def constant(name, prefix)
        return name if name.is_a?(Integer)

        Socket.const_get("#{prefix}#{name.to_s.delete_prefix(prefix)}")
      rescue NameError, EncodingError
        raise ArgumentError, "no constant #{prefix}#{name.inspect} in Socket"
      end

      # Socket::Option knows the names. It looks for all of them where the family is that of the Internet.
      def option(level, optname, optval)
        case optval
        when true, false then Socket::Option.bool(:INET, level, optname, optval)
        when Integer then Socket::Option.int(:INET, level, optname, optval)
        else Socket::Option.new(:INET, level, optname, string(optval))
        end
      rescue SocketError => error
        raise ArgumentError, error.message
      end

      # The sum of what the names stand for.
      def flags(given, known, what)
        return given if given.is_a?(Integer)

        (given.is_a?(Array) ? given : [given]).sum do |name|
          known.fetch(name) do
            raise ArgumentError, "no #{what} #{name.inspect}; there is #{known.keys.map(&:inspect).join(', ')}"
          end
        end
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
    end
  end
end
