# frozen_string_literal: true

module UringIO
  class Doctor
    # The lines that make a backend available or raise a limit. They depend on the limits and sysctls of this process.
    # @api private
    class Cures
      # The limits that the lines set, in files and bytes.
      OPEN_FILES = 65_536
      LOCKED_MEMORY = 8 << 20
      private_constant :OPEN_FILES, :LOCKED_MEMORY

      # @param support [Support]
      def initialize(support)
        @support = support
      end

      # @param name [Symbol] the name of a backend
      # @return [Array<Cure>] empty when it is available, or no line helps
      def backend(name)
        case @support.reason(name)
        when :sysctl then sysctl_cures
        when :seccomp then seccomp_cures(@support.backends[name].call)
        when :memlock then locked_memory
        when :descriptor_limit then open_files
        when :security_module then audit_cures
        else []
        end
      end

      # @return [Array<Cure>]
      def locked_memory
        kibibytes = LOCKED_MEMORY / 1024
        own = "ulimit -S -l #{kibibytes}" if may_raise?(:memlock_hard, LOCKED_MEMORY)
        [Cure.new("shell", own || "sudo prlimit --pid $$ --memlock=#{LOCKED_MEMORY}"),
         Cure.new("docker", "--ulimit memlock=#{LOCKED_MEMORY}"),
         Cure.new("systemd", "LimitMEMLOCK=#{LOCKED_MEMORY}")]
      end

      # @return [Array<Cure>]
      def open_files
        own = "ulimit -S -n #{OPEN_FILES}" if may_raise?(:open_files_hard, OPEN_FILES)
        [Cure.new("shell", own || "sudo prlimit --pid $$ --nofile=#{OPEN_FILES}"),
         Cure.new("docker", "--ulimit nofile=#{OPEN_FILES}"),
         Cure.new("systemd", "LimitNOFILE=#{OPEN_FILES}")]
      end

      private

      def sysctl_cures
        lines = ["kernel.io_uring_disabled=0"]
        if sysctl("io_uring_disabled") == "1" # 1 allows only one group, which opens less than 0 does
          group = sysctl("io_uring_group").to_i
          return [Cure.new("shell", "sudo usermod --append --groups #{group} \"$USER\"")] if group.positive?

          lines = ["kernel.io_uring_group=#{Process.gid}"]
        end
        lines.flat_map do |line|
          [Cure.new("shell", "sudo sysctl -w #{line}"),
           Cure.new("shell", "echo #{line} | sudo tee /etc/sysctl.d/60-io_uring.conf")]
        end
      end

      def sysctl(name)
        File.read("/proc/sys/kernel/#{name}").strip
      rescue SystemCallError
        ""
      end

      def seccomp_cures(call)
        calls = call.start_with?("io_uring") ? %w[io_uring_setup io_uring_enter io_uring_register] : [call]
        rule = JSON.generate([{ names: calls, action: "SCMP_ACT_ALLOW" }])
        profile = "https://raw.githubusercontent.com/moby/profiles/HEAD/seccomp/default.json"
        [Cure.new("shell", "curl -fsSL #{profile} |\n  jq '.syscalls += #{rule}' >uring_io.json"),
         Cure.new("docker", "--security-opt seccomp=uring_io.json"),
         # Without another filter, this line would forbid all other system calls.
         Cure.new("systemd", "# only below another SystemCallFilter=\nSystemCallFilter=#{calls.join(' ')}")]
      end

      def audit_cures
        [Cure.new("shell", "sudo ausearch -m avc -ts recent"),
         Cure.new("shell", "sudo journalctl -k --grep='apparmor|avc'")]
      end

      def may_raise?(hard, wanted)
        limit = @support.limits[hard]
        limit.nil? || limit >= wanted
      end
    end
    private_constant :Cures
  end
end
