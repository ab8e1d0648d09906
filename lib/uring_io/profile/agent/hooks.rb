# frozen_string_literal: true

# Counts what fibers wait for, by wrapping the hooks of any scheduler that the program sets. The methods .enter, .leave,
# .scheduler and .stats are native (ext/uring_io_agent).
module UringIOProfileAgent
  # A module to prepend to a scheduler's class.
  class Hooks < Module
    # The numbers of the kinds of waits (ext/uring_io_agent/src/waits.rs).
    ON_IO = 1
    KINDS = { kernel_sleep: 5, block: 6, process_wait: 7, address_resolve: 10, blocking_operation_wait: 8 }.freeze
    IOS = %i[io_wait io_read io_write io_pread io_pwrite].freeze

    # @param counted [Boolean] whether the scheduler counts, as UringIO::Scheduler does
    def initialize(scheduler, counted)
      super()
      IOS.each { |name| wrap(name, "io, ...", "#{ON_IO}, io", counted) if scheduler.method_defined?(name) }
      KINDS.each { |name, kind| wrap(name, "...", "#{kind}, nil", counted) if scheduler.method_defined?(name) }
      if scheduler.method_defined?(:io_select)
        wrap(:io_select, "io, ...", "#{ON_IO}, (io.first if ::Array === io && ::IO === io.first)", counted)
      end
      ask_at_end if counted
    end

    private

    # The method has the name of the hook: our own scheduler finds the caller of a hook by the names of frames.
    def wrap(name, parameters, entered, counted)
      left = "::UringIOProfileAgent.leave(waiting)"
      left = "::UringIOProfileAgent.ask(self) if #{left}" if counted
      module_eval(<<~RUBY, __FILE__, __LINE__ + 1)
        def #{name}(#{parameters})                           # def io_read(io, ...)
          waiting = ::UringIOProfileAgent.enter(#{entered})  #   waiting = ::UringIOProfileAgent.enter(1, io)
          begin                                              #   begin
            super                                            #     super
          ensure                                             #   ensure
            #{left}                                          #     ::UringIOProfileAgent.leave(waiting)
          end
        end
      RUBY
    end

    def ask_at_end
      %i[run close].each do |name|
        module_eval(<<~RUBY, __FILE__, __LINE__ + 1)
          def #{name}(...)                       # def close(...)
            ::UringIOProfileAgent.ask(self)
            super
          ensure
            ::UringIOProfileAgent.ask(self)
          end
        RUBY
      end
    end
  end

  # Prepended to Fiber's singleton class, so that we see each scheduler that the program sets.
  module Setting
    def set_scheduler(scheduler) # rubocop:disable Naming/AccessorMethodName
      UringIOProfileAgent.watch(scheduler)
      super
    end
  end

  class << self
    # Wraps the hooks of this scheduler's class, unless they are wrapped already.
    def watch(scheduler)
      return if scheduler.nil?

      found = scheduler.class
      scheduler(found.name.to_s[0, 60])
      return if found.ancestors.any?(Hooks)

      found.prepend(Hooks.new(found, found.ancestors.any? { |one| one.name == "UringIO::Scheduler" }))
    rescue StandardError
      # Nothing can be prepended to this class, so we do not count the waits of its fibers.
    end

    # Asks a scheduler of ours for its numbers.
    def ask(scheduler)
      counted = scheduler.stats
      seconds = counted.values_at(:waiting_seconds, :running_seconds).map { |time| (time * 1e9).to_i }
      stats(*counted.values_at(:enters, :submissions, :completions, :direct_calls, :switches), *seconds)
    rescue StandardError
      # The scheduler is closed.
    end
  end

  Fiber.singleton_class.prepend(Setting)
  private_constant :Setting
end
