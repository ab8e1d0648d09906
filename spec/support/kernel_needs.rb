# frozen_string_literal: true

# On io_uring, skips examples that need more than this kernel has: it "...", needs: :ftruncate, or needs(:pipe) inside
# of an example. It asks the probe, not the release, because distributions backport later parts of io_uring.
module KernelNeeds
  # Abilities that the probe does not report. Each stands with the operation that came in the same release.
  COMPANIONS = {
    direct_descriptors: :socket, registered_buffers: :socket, accept_each: :socket, recv_each: :send_zc,
    poll_each: :linkat, read_each: :read_multishot, setsockopt: :waitid, install: :fixed_fd_install
  }.freeze

  class << self
    # The reason why an example cannot run here, or nil when the kernel has all these operations, features and setup
    # flags.
    def missing(*names)
      name = names.flatten.find { |one| !has?(one) } or return

      release = UringIO::Support.releases.values.inject(:merge).fetch(asked(name))
      "#{name} needs Linux #{release} on io_uring"
    end

    private

    def has?(name)
      support = UringIO.support
      [support.operations, support.features, support.setup_flags].inject(:merge).fetch(asked(name))
    end

    def asked(name)
      COMPANIONS.fetch(name, name)
    end
  end

  def needs(*names)
    missing = KernelNeeds.missing(*names) if RSpec.current_example.metadata[:backend] == :io_uring
    skip missing if missing
  end
end

RSpec.configure do |config|
  config.include KernelNeeds
  # A String names a gem: docs_spec.rb checks for gems itself.
  config.before { |example| needs(*Array(example.metadata[:needs]).grep(Symbol)) }
end
