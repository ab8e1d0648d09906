# frozen_string_literal: true

module UringIO
  class Ring
    # One method per operation. A descriptor is an IO, an object that converts to one, or an Integer. A path is a String
    # or a Pathname. Sizes and offsets are in bytes. +timeout+ is in seconds: when it passes first, the method raises
    # IO::TimeoutError. A method that opens something returns a close-on-exec descriptor, which the caller has to close.
    # A note such as "Linux 5.6" names the first kernel whose io_uring has the operation. The other backends make the
    # system call.
    module Operations
      # The advice for posix_fadvise(2).
      ADVICE = { normal: 0, random: 1, sequential: 2, willneed: 3, dontneed: 4, noreuse: 5 }.freeze
      # The advice for madvise(2) that leaves the content of the memory as it is. cold and pageout need Linux 5.4,
      # populate_read and populate_write 5.14, the others are older than 5.6.
      MEMORY_ADVICE = { normal: 0, random: 1, sequential: 2, willneed: 3, hugepage: 14, nohugepage: 15, cold: 20,
                        pageout: 21, populate_read: 22, populate_write: 23 }.freeze
      # The resolve flags of openat2(2).
      RESOLVE = { no_xdev: 0x01, no_magiclinks: 0x02, no_symlinks: 0x04, beneath: 0x08, in_root: 0x10,
                  cached: 0x20 }.freeze
      # The flags of renameat2(2).
      RENAME = { noreplace: 1, exchange: 2 }.freeze
      # The flags of sync_file_range(2).
      SYNC_RANGE = { wait_before: 1, write: 2, wait_after: 4 }.freeze
      # The flags of setxattr(2).
      XATTR = { create: 1, replace: 2 }.freeze

      # Does nothing. It is for measurements.
      # @return [nil]
      def nop(timeout: nil)
        run(Call.nop, timeout:)
      end

      # read(2), or pread(2) with an offset (Linux 5.6). It ignores bytes in Ruby's read buffer of the IO.
      # @param into [Integer, IO::Buffer] the most bytes to read, or a buffer to fill from its beginning
      # @param offset [Integer, nil] position in the file; nil for the descriptor's own, which the call moves. Pipes and
      #   sockets have no positions: io_uring ignores the offset, the other backends raise Errno::ESPIPE
      # @return [String, Integer, nil] the bytes in binary, nil at the end; with a buffer their number, 0 at the end
      def read(io, into, offset: nil, timeout: nil)
        run(Call.read(descriptor(io), room(into), offset), timeout:)
      end

      # write(2), or pwrite(2) with an offset (Linux 5.6). It does not flush Ruby's write buffer of the IO.
      # @param data [String, IO::Buffer]
      # @return [Integer] bytes written, which may be fewer
      def write(io, data, offset: nil, timeout: nil)
        run(Call.write(descriptor(io), bytes(data), offset), timeout:)
      end

      # readv(2), or preadv(2) with an offset: fills one buffer after the other.
      # @param buffers [Array<IO::Buffer>] at most 1024; each owns its memory
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

      # Like #read, but into registered memory: see Ring#register. io_uring only.
      # @param buffer [RegisteredBuffer]
      # @param length [Integer, nil] nil for the rest of the buffer
      # @param at [Integer] position in the buffer
      # @return [Integer] bytes read, 0 at the end
      def read_fixed(io, buffer, length = nil, at: 0, offset: nil, timeout: nil)
        run(Call.fixed(descriptor(io), buffer, range(buffer, at, length), offset, false), timeout:)
      end

      # Like #write, but from registered memory: see Ring#register. io_uring only.
      # @param buffer [RegisteredBuffer]
      # @param length [Integer, nil] nil for the rest of the buffer
      # @param at [Integer] position in the buffer
      # @return [Integer] bytes written, which may be fewer
      def write_fixed(io, buffer, length = nil, at: 0, offset: nil, timeout: nil)
        run(Call.fixed(descriptor(io), buffer, range(buffer, at, length), offset, true), timeout:)
      end

      # recv(2). An empty datagram looks like the end: #recvmsg tells the two apart.
      # @param into [Integer, IO::Buffer] as for #read
      # @param flags [Integer] of recv(2). With Socket::MSG_WAITALL it waits for the full length, unless it peeks
      #   (Socket::MSG_PEEK) or the socket has datagrams or other messages
      # @return [String, Integer, nil] as for #read
      def recv(io, into, flags = 0, timeout: nil)
        run(Call.recv(descriptor(io), room(into), flags), timeout:)
      end

      # send(2). When the peer has gone, it raises Errno::EPIPE, without a signal.
      # @param data [String, IO::Buffer]
      # @return [Integer] bytes sent, which may be fewer; with Socket::MSG_WAITALL all of them (io_uring: Linux
      #   5.19)
      def send(io, data, flags = 0, timeout: nil)
        run(Call.send(descriptor(io), bytes(data), flags), timeout:)
      end

      # Like #send, but does not copy the data into the kernel (Linux 6.0). That pays off from some ten kilobytes on,
      # and only to other machines. An IO::Buffer stays locked until the peer has acknowledged the data; the next call
      # of the ring after that unlocks it. Only io_uring sends without a copy: on the other backends the method raises
      # UnsupportedError from +threshold+ on.
      # @param data [String, IO::Buffer] a frozen String, or a buffer that owns its memory
      # @param threshold [Integer] below this many bytes, it does the same as #send, on every backend
      # @return [Integer] bytes sent, which may be fewer
      def send_zc(io, data, flags = 0, threshold: 32_768, timeout: nil)
        size = data.is_a?(IO::Buffer) ? data.size : string(data).bytesize
        make = size < threshold ? :send : :send_zc
        run(Call.public_send(make, descriptor(io), bytes(data), flags), timeout:)
      end

      # recvmsg(2), like BasicSocket#recvmsg. It takes what there is, also with Socket::MSG_WAITALL. It closes
      # descriptors that the message carries, unless scm_rights is true.
      # @param length [Integer] the most bytes of data
      # @param controllen [Integer] the most bytes of ancillary data
      # @param scm_rights [Boolean] whether to keep the descriptors: AncillaryData#unix_rights returns them as IOs
      # @return [Array(String, Addrinfo, Integer, *Socket::AncillaryData), nil] data, sender, flags, ancillary data;
      #   nil at the end. An empty message is nil, too, unless it is a datagram
      def recvmsg(io, length, flags = 0, controllen: 4096, scm_rights: false, timeout: nil)
        call = Call.recvmsg(descriptor(io), length, controllen, flags)
        run(call, timeout:) { |found| Messages.received(io, found, scm_rights) }
      end

      # sendmsg(2), like BasicSocket#sendmsg. A datagram waits while the queue of a UNIX socket is full.
      # @param data [String, IO::Buffer]
      # @param address [Addrinfo, String, nil] nil for a connected socket
      # @param controls [Array<Socket::AncillaryData>]
      # @return [Integer] bytes sent, which may be fewer
      def sendmsg(io, data, flags = 0, address = nil, *controls, timeout: nil)
        address &&= sockaddr(address)
        packed = Messages.pack(controls)
        run(Call.sendmsg(descriptor(io), bytes(data), address, packed, flags), timeout:)
      end

      # openat(2), or openat2(2) with +resolve+. For a FIFO it waits until somebody opens the other end, unless +mode+
      # has File::NONBLOCK.
      # @param mode [String, Integer] as for File.open, without encodings
      # @param perm [Integer] the permissions of a new file
      # @param dir [IO, Integer, nil] the directory that a relative path starts at; nil for the working directory
      # @param resolve [Array<Symbol>, Symbol, Integer, nil] keys of RESOLVE
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
      # @param follow [Boolean] true for the target of a symbolic link, false for the link itself
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

      # sync_file_range(2). It does not write metadata, so the data may be lost in a crash: #fdatasync is safe.
      # @param length [Integer] 0 for the rest of the file
      # @param flags [Array<Symbol>, Symbol, Integer] keys of SYNC_RANGE
      # @return [nil]
      def sync_file_range(io, offset: 0, length: 0, flags: %i[wait_before write wait_after], timeout: nil)
        bits = flags(flags, SYNC_RANGE, "flags")
        run(Call.sync_range(descriptor(io), offset, length, bits), timeout:)
      end

      # fallocate(2).
      # @param mode [Integer] the mode of fallocate(2); 0 allocates, and extends a file that is shorter
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

      # madvise(2): tells the kernel how the program will use memory, such as a file in IO::Buffer.map (Linux 5.6). The
      # advice is for whole pages.
      # @param buffer [IO::Buffer] one that owns its memory; it stays locked meanwhile
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
      # @param size [Integer] the most bytes to read, with Errno::ERANGE for a longer value; 0 asks for the length only
      # @return [String, Integer] the value in binary; its number of bytes for a size of 0
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

      # splice(2): moves bytes from one descriptor to another, one of which is a pipe (Linux 5.7).
      # @param from_offset [Integer, nil] position; nil for the descriptor's own position
      # @return [Integer] bytes moved
      def splice(from, to, length, from_offset: nil, to_offset: nil, timeout: nil)
        call = Call.splice(descriptor(from), from_offset || -1, descriptor(to), to_offset || -1, length)
        run(call, timeout:)
      end

      # tee(2): copies bytes from one pipe to another; they stay in the first as well (Linux 5.8).
      # @return [Integer] bytes copied
      def tee(from, to, length, timeout: nil)
        run(Call.tee(descriptor(from), descriptor(to), length), timeout:)
      end

      # pipe2(2) (Linux 6.16).
      # @param flags [Integer] File::NONBLOCK, or other flags of pipe2(2)
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

      # setsockopt(2), like BasicSocket#setsockopt (Linux 6.7). When the descriptor is not a socket, io_uring raises
      # Errno::ENOTSUP, and the other backends raise Errno::ENOTSOCK. On some kernels io_uring raises Errno::ENOTSUP for
      # sockets that are neither IPv4 nor IPv6.
      # @param level [Symbol, String, Integer] :SOCKET, or a protocol: :IP, :IPV6, :TCP or :UDP
      # @param optname [Symbol, String, Integer] such as :REUSEADDR and :NODELAY, or as the constant of Socket
      # @param optval [Boolean, Integer, String] a 32-bit number, or the bytes themselves, such as Socket::Option#data
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

      # poll(2) for one descriptor.
      # @param events [Integer] a sum of IO::READABLE, IO::PRIORITY and IO::WRITABLE
      # @return [Integer] the events that are there
      def poll(io, events, timeout: nil)
        run(Call.poll(descriptor(io), events), timeout:)
      end

      # Waits for that many seconds.
      # @param seconds [Numeric]
      # @return [nil]
      def timeout(seconds)
        run(Call.timeout(seconds))
      end

      # waitid(2): waits for a child of this process (Linux 6.7). The other backends wait for one child by its number.
      # @param kind [Symbol] :pid, :pgid, :pidfd or :all
      # @param id [Integer] the process, the group or the descriptor; 0 for :all and for the caller's own group
      # @param events [Array<Symbol>, Symbol] one or more of :exited, :stopped and :continued
      # @param reap [Boolean] false does not reap the child: the program can wait for it again, and Process.wait sets $?
      # @return [Child] which child it was, and what happened to it
      def waitid(kind, id = 0, events: :exited, reap: true, timeout: nil)
        options = flags(events, Child::EVENTS, "events") | (reap ? 0 : Child::NOWAIT)
        run(Call.waitid(flags(kind, Child::KINDS, "kind"), id, options), timeout:) { |fields| Child.from(fields) }
      end

      # futex(2): waits while a 32-bit number in memory has this value (Linux 6.7). io_uring only.
      # @param buffer [IO::Buffer] one that owns its memory; it stays locked meanwhile
      # @param value [Integer] an unsigned 32-bit number, in the byte order of this machine
      # @param at [Integer] the number's position in the buffer, a multiple of 4
      # @return [Boolean] true when a #futex_wake woke it, false when the number was not +value+
      def futex_wait(buffer, value, at: 0, timeout: nil)
        call = Call.futex_wait(buffer, at, value)
        run(call, timeout:) { true }
      rescue Errno::EAGAIN
        false
      end

      # futex(2): wakes waiters of this process (Linux 6.7).
      # @param count [Integer] the most waiters to wake
      # @return [Integer] how many it has woken
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

      # A place for the bytes that a call reads.
      def room(into)
        return into if into.is_a?(Integer) || into.is_a?(IO::Buffer)

        raise TypeError, "#{into.class} given where a number of bytes or an IO::Buffer is needed"
      end

      # The bytes that a call writes.
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
        raise ArgumentError, "#{name.inspect} names no constant #{prefix}... of Socket"
      end

      # Socket::Option translates the names. With the family INET it knows those of every level.
      def option(level, optname, optval)
        case optval
        when true, false then Socket::Option.bool(:INET, level, optname, optval)
        when Integer then Socket::Option.int(:INET, level, optname, optval)
        else Socket::Option.new(:INET, level, optname, string(optval))
        end
      rescue SocketError => error
        raise ArgumentError, error.message
      end

      # Returns the sum of the numbers that the names stand for.
      def flags(given, known, what)
        return given if given.is_a?(Integer)

        (given.is_a?(Array) ? given : [given]).sum do |name|
          known.fetch(name) do
            raise ArgumentError, "no #{what} #{name.inspect}; there is #{known.keys.map(&:inspect).join(', ')}"
          end
        end
      end

      # The modes of File.open. Ruby has no method that translates them.
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
