# frozen_string_literal: true

require "json"
require_relative "../uring_io"
require_relative "doctor/cures"
require_relative "doctor/page"

module UringIO
  # The report of <tt>uring_io doctor</tt>: which backends this machine has, which one a program gets, and how to get
  # those that are missing. <tt>require "uring_io"</tt> does not load it.
  #
  #   puts UringIO::Doctor.examine
  class Doctor
    # Text for the user to copy, mostly one line.
    #
    # @!parse
    #   # Text for the user to copy, mostly one line.
    #   class Cure < Data
    #     # @return [String] "shell", "docker" (an option of run; podman takes the same) or "systemd"
    #     #   (in the [Service] of a unit)
    #     attr_reader :where
    #     # @return [String]
    #     attr_reader :line
    #   end
    Cure = Data.define(:where, :line)

    # A limit that is enough to work, but may turn out small.
    #
    # @!parse
    #   # A limit that is enough to work, but may turn out small.
    #   class Hint < Data
    #     # @return [Symbol] :open_files, :locked_memory or :cpus
    #     attr_reader :limit
    #     # @return [String]
    #     attr_reader :text
    #     # @return [Array<Cure>]
    #     attr_reader :cures
    #   end
    Hint = Data.define(:limit, :text, :cures)

    # The result of making a scheduler as programs make theirs.
    #
    # @!parse
    #   # The result of making a scheduler as programs make theirs.
    #   class Outcome < Data
    #     # @return [Symbol, nil] nil when that failed
    #     attr_reader :backend
    #     # @return [Exception, nil] the reason why it failed
    #     attr_reader :error
    #   end
    Outcome = Data.define(:backend, :error)

    # The environment variable that chooses a backend.
    VARIABLE = "URING_IO_BACKEND"

    # The bytes of a ring of Scheduler.new's default size, with its queues.
    RING_BYTES = 132 * 1024
    # The doctor gives a hint for a limit below these.
    OPEN_FILES_SMALL = 4096
    LOCKED_MEMORY_SMALL = 1 << 20
    private_constant :RING_BYTES, :OPEN_FILES_SMALL, :LOCKED_MEMORY_SMALL

    class << self
      # Examines this machine from within this process, so the limits, filters and environment of this process count.
      # @return [Doctor]
      def examine
        # The scheduler comes first: a program makes no ring before its scheduler, either. The kernel takes its time to
        # free the memory of a ring, so an earlier one would change the result.
        outcome = try_scheduler
        new(support: support_beside(outcome), outcome:, asked_for: ENV.fetch(VARIABLE, ""))
      end

      # @return [String] the order of the last two arguments that this Ruby passes to io_read, io_write, io_pread and
      #   io_pwrite: "length, offset" up to 4.0, "offset, length" from 4.1 on
      def hook_order
        defined?(IO::Buffer::VERSION) && IO::Buffer::VERSION >= 3 ? "offset, length" : "length, offset"
      end

      private

      def try_scheduler
        scheduler = Scheduler.new
        Outcome.new(backend: scheduler.backend, error: nil)
      rescue StandardError => error
        Outcome.new(backend: nil, error:)
      ensure
        scheduler&.close
      end

      # When locked memory is short, the scheduler's ring may still use what the next ring needs. So try several times.
      def support_beside(outcome)
        9.times do
          support = Support.detect
          return support if outcome.backend.nil? || support.available?(outcome.backend)

          sleep(0.02)
        end
        Support.detect
      end
    end

    # @return [Support] the backends and operations that this machine has
    attr_reader :support
    # @return [Outcome] the outcome of making a scheduler without +backend:+
    attr_reader :outcome
    # @return [String, nil] the value of URING_IO_BACKEND; nil when unset or empty
    attr_reader :asked_for

    # @api private
    def initialize(support:, outcome:, asked_for: "")
      @support = support
      @outcome = outcome
      @asked_for = plain(asked_for) unless asked_for.empty?
      @cures = Cures.new(support)
    end

    # @return [Boolean] whether a program would run on io_uring
    def io_uring?
      outcome.backend == :io_uring
    end

    # @return [Integer] the exit status of +uring_io doctor+
    def status
      io_uring? ? 0 : 1
    end

    # @return [String] a sentence with the backend that a program gets, and why
    def verdict
      backend = outcome.backend
      return "A program gets no scheduler: #{why_none}" unless backend
      return "A program runs on #{backend}: #{VARIABLE}=#{asked_for} asks for it." if asked_for
      return "A program runs on io_uring." if io_uring?

      reason = support.reason(:io_uring)
      return "A program runs on #{backend}: io_uring is not available (#{reason})." if reason

      "A program runs on #{backend}, although io_uring is available. Look again; #{VARIABLE}=io_uring makes a " \
        "program tell why it does not get it."
    end

    # @return [Array<Cure>] a cure when URING_IO_BACKEND keeps a program from io_uring
    def verdict_cures
      asked_for && !io_uring? ? [Cure.new("shell", "unset #{VARIABLE}")] : []
    end

    # @param backend [Symbol]
    # @return [Array<Cure>] lines that make the backend available, if there are any
    def cures(backend)
      @cures.backend(backend)
    end

    # @return [Array<Hint>] limits that may turn out small
    def hints
      [open_files_hint, locked_memory_hint, cpus_hint].compact
    end

    # The whole report as plain values. The keys are stable: later versions may add keys, and remove none.
    #
    # - +uring_io+: +version+, +path+ of the library
    # - +ruby+: +version+, +engine+, +platform+, +buffer_version+ (IO::Buffer::VERSION or nil),
    #   +hook_order+ ("length, offset" or "offset, length")
    # - +default+: for a program that names no backend: the +backend+ that it gets (nil for none),
    #   +io_uring+ (true or false), +asked_for+ (URING_IO_BACKEND or nil), +verdict+, +cures+,
    #   +error+ (nil, or +class+ and +message+)
    # - +kernel+: +name+, +release+, +version+ (three numbers), +machine+
    # - +backends+: by name +available+, +cures+; for one that is not available also +reason+, +call+,
    #   +errno+, +cause+, +remedy+ (see Support::Backend)
    # - +operations+, +features+, +setup_flags+: of io_uring by name, true or false; all false
    #   when io_uring is not available
    # - +denied+: a list of the operations that a filter on this process denies to its rings
    # - +limits+: +open_files_soft+, +open_files_hard+, +memlock_soft+, +memlock_hard+ (bytes), nil
    #   for unlimited; +cpus+
    # - +hints+: a list of +limit+ (open_files, locked_memory, cpus), +text+, +cures+
    #
    # Cures are lists of +where+ (shell, docker, systemd) and +line+.
    # @return [Hash{Symbol => Object}]
    def to_h
      found = support.to_h
      {
        uring_io: { version: VERSION, path: library }, ruby:, default:, kernel: found[:kernel],
        backends: found[:backends].to_h { |name, backend| [name, { **backend, cures: cures(name).map(&:to_h) }] },
        **found.slice(:operations, :denied, :features, :setup_flags, :limits),
        hints: hints.map { |hint| { **hint.to_h, cures: hint.cures.map(&:to_h) } }
      }
    end

    # @return [String] to_h as one JSON document
    def to_json(*)
      "#{JSON.pretty_generate(to_h)}\n"
    end

    # @param color [Boolean] whether to color it with escape codes for a terminal
    # @return [String] the report for people
    def to_s(color: false)
      Page.new(self, color:).to_s
    end

    # @return [String] the folder this library was loaded from
    def library
      plain(File.expand_path("..", __dir__))
    end

    private

    def default
      error = outcome.error
      { backend: outcome.backend, io_uring: io_uring?, asked_for:, verdict:, cures: verdict_cures.map(&:to_h),
        error: error && { class: error.class.name, message: plain(error.message) } }
    end

    def ruby
      { version: RUBY_VERSION, engine: RUBY_ENGINE, platform: RUBY_PLATFORM,
        buffer_version: defined?(IO::Buffer::VERSION) ? IO::Buffer::VERSION : nil, hook_order: self.class.hook_order }
    end

    # Makes text from outside fit for JSON and for a terminal, whatever bytes it has.
    def plain(text)
      text = text.dup.force_encoding(Encoding::UTF_8).scrub("?")
      text.gsub(/[[:cntrl:]]/, "?")
    end

    def why_none
      message = plain(outcome.error.message)
      return message if asked_for.nil? || message.include?(VARIABLE)

      what = outcome.error.is_a?(UnsupportedError) ? "asks for a backend that does not work here." : "gives: #{message}"
      "#{VARIABLE}=#{asked_for} #{what}"
    end

    def open_files_hint
      soft = support.limits[:open_files_soft]
      return if soft.nil? || soft >= OPEN_FILES_SMALL

      Hint.new(:open_files, "Each connection, file and ring takes one.", @cures.open_files)
    end

    # When locked memory is the reason why io_uring is not available, the backend's cure already says so.
    def locked_memory_hint
      soft = support.limits[:memlock_soft]
      return if soft.nil? || soft >= LOCKED_MEMORY_SMALL || exempt_from_memlock?
      return if support.reason(:io_uring) == :memlock || support.kernel[:name] != "Linux"

      Hint.new(:locked_memory, "The ring of each scheduler takes #{RING_BYTES / 1024} KiB. The rings of all the " \
                               "processes of this user count together; a scheduler makes a smaller ring when memory " \
                               "is short.",
               @cures.locked_memory)
    end

    # Whether the process has CAP_IPC_LOCK, which counts in the initial user namespace only.
    def exempt_from_memlock?
      capabilities = File.read("/proc/self/status")[/^CapEff:\s*(\h+)/, 1].to_i(16)
      capabilities[14] == 1 && File.read("/proc/self/uid_map").split == %w[0 0 4294967295]
    rescue SystemCallError
      false
    end

    def cpus_hint
      return if support.limits[:cpus] > 1

      Hint.new(:cpus, "The program shares it with the kernel's worker threads: do not use sqpoll.", [])
    end
  end
end
