# frozen_string_literal: true

module UringIO
  # The backends and operations that this machine has, and the backend that a program gets: see UringIO.support.
  #
  # Support.detect really tries each backend. It does so at each call, because limits and sysctls may change.
  class Support
    # A backend, whether it works here, and why not.
    #
    # @!parse
    #   # A backend, whether it works here, and why not.
    #   class Backend < Data
    #     # @return [Symbol]
    #     attr_reader :name
    #     # @return [Boolean] whether it works here
    #     attr_reader :available
    #     alias_method :available?, :available
    #     # @return [Symbol, nil] :no_such_call, :sysctl, :seccomp, :filter, :memlock, :old_kernel,
    #     #   :security_module, :descriptor_limit, :platform or :other
    #     attr_reader :reason
    #     # @return [String, nil] the system call that failed
    #     attr_reader :call
    #     # @return [Integer, nil] the errno of that call
    #     attr_reader :errno
    #     # @return [String, nil] the cause, in sentences
    #     attr_reader :cause
    #     # @return [String, nil] what to do about it, in sentences
    #     attr_reader :remedy
    #   end
    Backend = Data.define(:name, :available, :reason, :call, :errno, :cause, :remedy) do
      alias_method :available?, :available
    end

    # @return [Hash{Symbol => Object}] :name, :release, :version (three Integers), :machine
    attr_reader :kernel
    # @return [Hash{Symbol => Backend}] each backend, best first
    attr_reader :backends
    # @return [Hash{Symbol => Boolean}] the operations of io_uring, by the kernel's names
    attr_reader :operations
    # @return [Array<Symbol>] operations of a scheduler that a filter on this process denies to its rings (Linux 7.0).
    #   The scheduler makes system calls instead
    attr_reader :denied
    # @return [Hash{Symbol => Boolean}] the features of io_uring, see io_uring_setup(2)
    attr_reader :features
    # @return [Hash{Symbol => Boolean}] the setup flags, and whether a ring gets them on this machine
    attr_reader :setup_flags
    # @return [Hash{Symbol => Integer, nil}] open files (number), locked memory (bytes), both soft
    #   and hard, nil for unlimited; usable CPUs
    attr_reader :limits

    # @!method self.releases
    #   The first Linux that has each operation, feature and setup flag of io_uring. A newer kernel that lacks one hides
    #   it. Sources: io_uring_setup(2), io_uring_enter(2).
    #   @return [Hash{Symbol => Hash{Symbol => String}}] releases such as "6.7": first by +:operations+, +:features+ and
    #     +:setup_flags+, then by the names in the attributes above. Empty on systems other than Linux.

    # Tries every backend, and reads the kernel's version and the limits. It takes well under a millisecond.
    # @return [Support]
    def self.detect
      new(**detect_raw)
    end

    # @api private
    def initialize(kernel:, backends:, operations:, denied:, features:, setup_flags:, limits:)
      @kernel = kernel.freeze
      @backends = backends.to_h { |name, found| [name, backend_of(name, found)] }.freeze
      @operations = operations.freeze
      @denied = denied.freeze
      @features = features.freeze
      @setup_flags = setup_flags.freeze
      @limits = limits.freeze
      freeze
    end

    # @return [Symbol] the backend that a scheduler uses without +backend:+
    def best
      backends.find { |_, backend| backend.available? }.first
    end

    # @param backend [Symbol]
    # @return [Boolean] whether that backend works here
    # @raise [ArgumentError] for an unknown name
    def available?(backend)
      fetch(backend).available?
    end

    # @param backend [Symbol]
    # @return [Symbol, nil] why it does not work here, see Backend#reason
    # @raise [ArgumentError] for an unknown name
    def reason(backend)
      fetch(backend).reason
    end

    # @return [Hash] everything as plain values, ready for JSON
    def to_h
      { kernel:, best:, backends: backends.transform_values { |backend| backend.to_h.except(:name).compact },
        operations:, denied:, features:, setup_flags:, limits: }
    end

    # @return [String] a line for each backend
    def to_s
      lines = backends.values.map do |backend|
        next "#{backend.name}: available" if backend.available?

        "#{backend.name}: not available (#{backend.reason}). #{backend.cause} #{backend.remedy}"
      end
      ["#{kernel[:name]} #{kernel[:release]} #{kernel[:machine]}", *lines].join("\n")
    end

    # @return [String]
    def inspect
      "#<#{self.class} kernel=#{kernel[:release]} best=#{best}>"
    end

    private

    def backend_of(name, found)
      Backend.new(name:, reason: nil, call: nil, errno: nil, cause: nil, remedy: nil, **found)
    end

    def fetch(backend)
      backends.fetch(backend) do
        raise ArgumentError, "no backend #{backend.inspect}: there are #{backends.keys.map(&:inspect).join(', ')}"
      end
    end
  end

  # The backends and operations that this machine has. Each Ractor detects them once, at its first call.
  # @return [Support]
  def self.support
    Ractor.current[:uring_io_support] ||= Support.detect
  end
end
