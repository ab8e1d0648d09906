# frozen_string_literal: true

require "rbconfig"

module UringIO
  class Profile
    # The system calls in which a thread can wait, by their numbers on this processor (asm/unistd.h). We read the number
    # of a thread's present call from /proc/PID/task/TID/syscall.
    module Calls
      X86_64 = {
        read: 0, write: 1, open: 2, poll: 7, pread64: 17, pwrite64: 18, readv: 19, writev: 20, select: 23, pause: 34,
        nanosleep: 35, sendfile: 40, connect: 42, accept: 43, sendto: 44, recvfrom: 45, sendmsg: 46, recvmsg: 47,
        wait4: 61, fcntl: 72, flock: 73, fsync: 74, fdatasync: 75, rt_sigtimedwait: 128, rt_sigsuspend: 130,
        futex: 202, restart_syscall: 219, clock_nanosleep: 230, epoll_wait: 232, waitid: 247, openat: 257,
        pselect6: 270, ppoll: 271, splice: 275, sync_file_range: 277, epoll_pwait: 281, accept4: 288, preadv: 295,
        pwritev: 296, recvmmsg: 299, sendmmsg: 307, copy_file_range: 326, preadv2: 327, pwritev2: 328,
        io_uring_enter: 426, epoll_pwait2: 441
      }.freeze

      # Newer architectures use the numbers of asm-generic.
      GENERIC = {
        epoll_pwait: 22, fcntl: 25, flock: 32, openat: 56, read: 63, write: 64, readv: 65, writev: 66, pread64: 67,
        pwrite64: 68, preadv: 69, pwritev: 70, sendfile: 71, pselect6: 72, ppoll: 73, splice: 76, fsync: 82,
        fdatasync: 83, sync_file_range: 84, waitid: 95, futex: 98, nanosleep: 101, clock_nanosleep: 115,
        restart_syscall: 128, rt_sigsuspend: 133, rt_sigtimedwait: 137, accept: 202, connect: 203, sendto: 206,
        recvfrom: 207, sendmsg: 211, recvmsg: 212, accept4: 242, recvmmsg: 243, wait4: 260, sendmmsg: 269,
        copy_file_range: 285, preadv2: 286, pwritev2: 287, io_uring_enter: 426, epoll_pwait2: 441
      }.freeze

      TABLES = { "x86_64" => X86_64, "aarch64" => GENERIC, "arm64" => GENERIC, "riscv64" => GENERIC }.freeze
      private_constant :X86_64, :GENERIC, :TABLES

      # The names of system calls by their numbers; empty on an unknown processor.
      NAMES = TABLES.fetch(RbConfig::CONFIG["host_cpu"], {}).invert.freeze
    end
  end
end
