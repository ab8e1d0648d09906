# frozen_string_literal: true

require "tmpdir"

module UringIO
  class Profile
    # Counts every system call of a program by strace(1). That makes the program slow, so it is a run of its own.
    class Exact
      TRANSFERS = "reading and writing"
      # System calls by their purpose. All the rest count as OTHER.
      KINDS = {
        TRANSFERS => %w[read write readv writev pread64 pwrite64 preadv preadv2 pwritev pwritev2 sendto recvfrom sendmsg
                        recvmsg sendmmsg recvmmsg sendfile splice tee copy_file_range],
        "waiting" => %w[poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 epoll_ctl io_uring_enter
                        nanosleep clock_nanosleep pause rt_sigtimedwait wait4 waitid],
        "connections" => %w[socket socketpair connect accept accept4 bind listen shutdown getsockname getpeername
                            getsockopt setsockopt],
        "files" => %w[open openat openat2 close close_range stat fstat lstat newfstatat statx access faccessat
                      faccessat2 lseek fsync fdatasync ftruncate unlink unlinkat rename renameat renameat2 mkdir mkdirat
                      rmdir getdents64 readlink readlinkat fcntl ioctl flock dup dup2 dup3 pipe2 fadvise64 fallocate
                      getcwd],
        "locks between threads" => %w[futex],
        "memory" => %w[mmap munmap mprotect brk madvise mremap],
        "processes and signals" => %w[clone clone3 fork vfork execve exit exit_group kill tgkill rt_sigaction
                                      rt_sigprocmask rt_sigreturn sigaltstack set_robust_list rseq prctl]
      }.flat_map { |kind, names| names.map { |name| [name, kind] } }.to_h.freeze
      OTHER = "others"
      # A line of `strace -c`: % time, seconds, microseconds a call, calls, errors if there were any, name.
      LINE = /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(?<count>\d+)\s+(?<errors>\d+\s+)?(?<name>\w+)$/
      NOT_THERE = "strace is not installed here, so system calls were not counted: `apt install strace`, " \
                  "`dnf install strace`"
      # The most names that the profile gives for each kind.
      NAMES = 4
      private_constant :KINDS, :OTHER, :LINE, :NOT_THERE, :NAMES

      class << self
        # Runs a command once more, without its input and output.
        # @param seconds [Float] how long the command took without strace
        # @return [Hash] as in {Profile#to_h}
        def of_command(command, seconds)
          counted(seconds) { |strace, streams| Process.wait(Process.spawn(*strace, "--", *command, **streams)) }
        end

        # Looks at a process once more, for as long as before.
        # @param ended [Proc] is called again and again; true ends the pass
        # @return [Hash]
        def of_pid(pid, seconds, ended:)
          counted(seconds) do |strace, streams|
            strace = Process.spawn(*strace, "-p", pid.to_s, **streams)
            deadline = clock + seconds
            sleep 0.02 until (gone = Process.wait(strace, Process::WNOHANG)) || clock >= deadline || ended.call
            # SIGINT makes strace detach from the process.
            Process.kill(:INT, strace) && Process.wait(strace) unless gone
          end
        end

        # @param exact [Hash]
        # @return [Array<String>] for people
        def lines(exact)
          return [exact[:missing]] if exact[:missing]

          calls = exact[:calls]
          head = "#{sum(calls)} in a pass by strace, which took #{format('%.2f', exact[:seconds])} s; without strace " \
                 "it was #{format('%.2f', exact[:seconds_without])} s"
          [head] + calls.group_by { |call| call[:kind] }.sort_by { |_, group| -sum(group) }.map do |kind, group|
            names = group.first(NAMES).map { |call| "#{call[:name]} #{call[:count]}" }
            "#{kind}: #{sum(group)} (#{names.join(', ')}#{', ...' if group.size > NAMES})"
          end
        end

        private

        def sum(calls) = calls.sum { |call| call[:count] }

        def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)

        def counted(seconds_without)
          Dir.mktmpdir("uring_io-profile") do |folder|
            start = clock
            # The first run of the command has already shown this output.
            yield(["strace", "-f", "-c", "-q", "-o", "#{folder}/calls"],
                  { in: File::NULL, out: File::NULL, err: "#{folder}/errors" })
            calls = File.exist?("#{folder}/calls") ? calls(File.read("#{folder}/calls")) : []
            reason = File.read("#{folder}/errors").scrub[/^strace: (?!Process \d+ (?:at|de)tached)(.*)/, 1]
            next { missing: denied(reason) } if calls.empty? && reason

            { tool: "strace", seconds: clock - start, seconds_without:, calls: }
          end
        rescue Errno::ENOENT
          { missing: NOT_THERE }
        end

        def calls(text)
          found = text.scrub.each_line(chomp: true).filter_map { |line| LINE.match(line) }
          found = found.reject { |line| line[:name] == "total" }.map do |line|
            { name: line[:name], kind: KINDS.fetch(line[:name], OTHER), count: line[:count].to_i,
              errors: line[:errors].to_i }
          end
          found.sort_by { |call| -call[:count] }
        end

        def denied(reason)
          "strace could not count system calls here: #{reason}. It needs ptrace(2), which containers and " \
            "kernel.yama.ptrace_scope may forbid"
        end
      end
    end
    private_constant :Exact
  end
end
