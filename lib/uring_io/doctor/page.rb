# frozen_string_literal: true

module UringIO
  class Doctor
    # The report as text in columns.
    class Page
      WIDTH = 100
      LABEL = 15
      COLORS = { good: 32, bad: 31, hint: 33, line: 36, title: 1 }.freeze
      private_constant :WIDTH, :LABEL, :COLORS

      # @param doctor [Doctor]
      def initialize(doctor, color:)
        @doctor = doctor
        @support = doctor.support
        @color = color
        @lines = []
      end

      # @return [String]
      def to_s
        verdict
        surroundings
        backends
        io_uring if @support.available?(:io_uring)
        limits
        "#{@lines.join("\n")}\n"
      end

      private

      def verdict
        color = @doctor.outcome.backend ? :hint : :bad
        color = :good if @doctor.io_uring?
        wrap(@doctor.verdict, WIDTH).each { |line| @lines << paint(line, color) }
        cures(@doctor.verdict_cures)
      end

      def surroundings
        kernel = @support.kernel
        title("Here")
        row("uring_io", "#{VERSION}, from #{@doctor.library}")
        row("Ruby", "#{RUBY_VERSION} #{RUBY_PLATFORM}")
        row("hooks", "io_read and io_write are called with (io, buffer, #{Doctor.hook_order})")
        row("kernel", kernel.values_at(:name, :release, :machine).join(" "))
      end

      def backends
        title("Backends")
        @support.backends.each_value do |backend|
          next row(backend.name, "available", :good) if backend.available?
          # Leave out the backends of other systems, except io_uring: the verdict is about that one.
          next if backend.reason == :platform && backend.name != :io_uring

          row(backend.name, "not available (#{backend.reason}): #{backend.call} gives #{errno(backend.errno)}", :bad)
          paragraph(backend.cause)
          paragraph(backend.remedy)
          cures(@doctor.cures(backend.name))
        end
      end

      def io_uring
        title("io_uring")
        present("operations", @support.operations)
        denied
        present("features", @support.features)
        setup_flags
      end

      def limits
        found = @support.limits
        title("Limits")
        row("open files", limit(found, :open_files, &:to_s))
        hint(:open_files)
        row("locked memory", limit(found, :memlock) { |bytes| size(bytes) })
        hint(:locked_memory)
        row("CPUs", found[:cpus].to_s)
        hint(:cpus)
      end

      def denied
        return if @support.denied.empty?

        row("denied", @support.denied.join(", "), :hint)
        paragraph("A filter on this process refuses these to its rings. A scheduler makes system calls instead, " \
                  "which takes longer; calls of a ring raise UnsupportedError.")
      end

      # Adds the number of those that are there, and the names of the missing ones.
      def present(name, all)
        there = all.count { |_, present| present }
        row(name, there == all.size ? "all #{there} known ones" : "#{there} of #{all.size}")
        missing(name, all.reject { |_, present| present }.keys)
      end

      def setup_flags
        there, missing = @support.setup_flags.partition { |_, present| present }.map { |flags| flags.map(&:first) }
        missing.delete(:coop_taskrun) if there.include?(:defer_taskrun) # the better flag replaces it
        row("setup flags", there.empty? ? "none" : there.join(", "))
        missing("setup_flags", missing)
      end

      # Adds these names, grouped by the Linux that brought them.
      def missing(kind, names)
        return if names.empty?

        releases = Support.releases[kind.to_sym]
        groups = names.group_by { |name| releases[name] }.sort_by { |release, _| Gem::Version.new(release || "99") }
        groups = groups.map do |release, those|
          "#{those.join(', ')} (#{release ? "Linux #{release}" : 'not known here'})"
        end
        paragraph("Missing: #{groups.join('; ')}.")
      end

      def limit(found, name)
        soft, hard = %i[soft hard].map do |kind|
          value = found[:"#{name}_#{kind}"]
          value ? yield(value) : "unlimited"
        end
        soft == hard ? soft : "#{soft}, may be raised to #{hard}"
      end

      def size(bytes)
        return "#{bytes} bytes" unless (bytes % 1024).zero?

        (bytes % (1 << 20)).zero? && bytes.positive? ? "#{bytes >> 20} MiB" : "#{bytes >> 10} KiB"
      end

      def errno(number)
        SystemCallError.new(nil, number).class.name.delete_prefix("Errno::")
      end

      def hint(limit)
        @doctor.hints.select { |hint| hint.limit == limit }.each do |hint|
          paragraph("Small. #{hint.text}", :hint)
          cures(hint.cures)
        end
      end

      def title(text)
        @lines << "" << paint(text, :title)
      end

      def row(label, text, color = nil)
        first, *rest = wrap(text, WIDTH - LABEL - 2)
        @lines << "  #{label.to_s.ljust(LABEL)}#{paint(first, color)}"
        rest.each { |line| @lines << "#{margin}#{paint(line, color)}" }
      end

      def paragraph(text, color = nil)
        wrap(text, WIDTH - LABEL - 2).each { |line| @lines << "#{margin}#{paint(line, color)}" }
      end

      # These lines are never wrapped, because they are for copying.
      def cures(cures)
        cures.each do |cure|
          first, *rest = cure.line.lines(chomp: true)
          @lines << "#{margin}#{cure.where.ljust(9)}#{paint(first, :line)}"
          rest.each { |line| @lines << "#{margin}#{' ' * 9}#{paint(line, :line)}" }
        end
      end

      def margin
        " " * (LABEL + 2)
      end

      def wrap(text, width)
        text.scan(/\S.{0,#{width - 1}}(?=\s|\z)|\S+/)
      end

      def paint(text, color)
        @color && color ? "\e[#{COLORS.fetch(color)}m#{text}\e[0m" : text
      end
    end
    private_constant :Page
  end
end
