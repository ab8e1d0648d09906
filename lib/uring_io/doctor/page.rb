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

          row(backend.name, "not available (#{backend.reason}): #{backend.call} gives #{errno(backend.errno)}", :bad)
          paragraph(backend.cause)
          paragraph(backend.remedy)
          cures(@doctor.cures(backend.name))
        end
      end

      def io_uring
        title("io_uring")
        row("operations", present(@support.operations, OPERATIONS))
        row("features", present(@support.features, FEATURES))
        row("setup flags", setup_flags)
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

      # The number of those that are there; the missing by name where it matters.
      def present(all, since)
        missing = all.reject { |_, there| there }.keys
        return "all #{all.size} known ones" if missing.empty?

        named = missing & since.keys
        names = named.map { |name| "#{name} (Linux #{since[name]})" }
        names << "#{missing.size - named.size} more" if missing.size > named.size
        "#{all.size - missing.size} of #{all.size}; missing: #{names.join(', ')}"
      end

      def setup_flags
        flags = @support.setup_flags
        missing = flags.reject { |_, there| there }.keys
        missing.delete(:coop_taskrun) if flags[:defer_taskrun] # the better one
        text = flags.select { |_, there| there }.keys.join(", ")
        text = "none" if text.empty?
        names = missing.map { |name| SETUP_FLAGS.key?(name) ? "#{name} (Linux #{SETUP_FLAGS[name]})" : name.to_s }
        names.empty? ? text : "#{text}; missing: #{names.join(', ')}"
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

      # Never wrapped: they are for copying.
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
