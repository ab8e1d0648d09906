# frozen_string_literal: true

# The output of bin/demo.rb.

# See bin/demo --help.
module Demo
  # The table, how it was made, and its results in words.
  class Report
    HEADINGS = { fetching: "Net::HTTP fetching from nginx", serving: "HTTP server answering wrk" }.freeze
    COLUMNS = ["seconds", "requests/s", "system calls/request", "threads", "peak MiB"].freeze
    NAME_WIDTH = 14
    WIDTH = 100
    # A smaller difference does not count.
    DIFFERENCE_PERCENT_MIN = 5

    # The machine: its backends, limits and Ruby.
    def self.machine
      support = UringIO.support
      limits = support.limits
      memory = limits[:memlock_soft]
      <<~TEXT
        #{support}
        limits: #{limits[:open_files_soft] || 'no limit of'} open files, #{memory ? "#{memory / 1024} KiB" : 'no limit'} \
        of locked memory; #{limits[:cpus]} CPUs; Ruby #{RUBY_VERSION}

      TEXT
    end

    # @param obstacle [String, nil] why strace could not count system calls
    def initialize(rows, obstacle)
      @rows = rows
      @obstacle = obstacle
    end

    def to_s
      [table, "", wrap(method), "", *conclusion.map { |sentence| wrap(sentence) }].join("\n")
    end

    private

    def table
      lines = [line("", COLUMNS)]
      @rows.group_by(&:job).each do |job, rows|
        lines << HEADINGS[job]
        lines.concat(rows.map { |row| row.measured? ? line(name(row), cells(row)) : "  #{name(row)}: #{row.why}" })
      end
      lines.join("\n")
    end

    def line(name, cells)
      "  #{name.ljust(NAME_WIDTH)}#{cells.zip(COLUMNS).map { |cell, column| cell.rjust(column.size + 2) }.join}"
    end

    def cells(row)
      [format("%.2f", row.seconds), number(row.rate.round), row.calls ? format("%.2f", row.calls) : "-",
       number(row.threads), number(row.mebibytes)]
    end

    def method
      "Fetching: 4,000 requests for files of 10 KB by 200 fibers (or threads), 20 each on a keep-alive connection of " \
        "its own, every byte compared. Serving: examples/http_server.rb to 64 keep-alive connections for 2 s. Every " \
        "run is a process of its own, timed without the start of Ruby; the median of #{ROUNDS} is shown, and the " \
        "most threads and memory seen in /proc/PID/status. #{counting}"
    end

    def counting
      return "System calls were not counted: #{@obstacle}." if @obstacle

      "System calls were counted by strace in a further run. That slows a program down: it finds more of what it " \
        "asks for there already, and waits less often than in the timed runs."
    end

    def conclusion
      measured = @rows.select(&:measured?)
      fetching = measured.select { |row| row.job == :fetching }
      serving = measured.select { |row| row.job == :serving }
      [fastest(fetching), *comparisons(fetching), *comparisons(serving), spread(measured)].compact
    end

    def fastest(rows)
      rows = rows.sort_by(&:rate)
      "Fetching was fastest on #{name(rows.last)} and slowest on #{name(rows.first)}." if rows.size > 1
    end

    # Compares the first row with epoll and with threads.
    def comparisons(rows)
      first, *rest = rows
      rest.select { |row| %i[epoll threads].include?(row.target) }.map { |row| compare(first, row) }
    end

    def compare(row, other)
      found = [difference(row.rate, other.rate, "requests/s") || "about as many requests/s"]
      found << difference(row.calls, other.calls, "system calls per request") if row.calls && other.calls
      found << difference(row.threads, other.threads, "threads")
      found << difference(row.mebibytes, other.mebibytes, "memory", "less")
      "#{row.job.capitalize} on #{name(row)} against #{name(other)}: #{found.compact.join(', ')}."
    end

    # The difference in words; nil when it is too small.
    def difference(value, other, unit, less = "fewer")
      percent = (100.0 * (value - other) / other).round
      "#{percent.abs}% #{percent.positive? ? 'more' : less} #{unit}" unless percent.abs < DIFFERENCE_PERCENT_MIN
    end

    def spread(rows)
      percent = ((rows.map(&:spread).max - 1) * 100).round unless rows.empty?
      "Runs of the same row differed by up to #{percent}% in speed: smaller differences mean little." if percent
    end

    def wrap(text) = text.gsub(/(.{1,#{WIDTH}})(?: |\z)/, "\\1\n").chomp

    def name(row) = row.target == :threads ? "200 threads" : row.target.to_s
    def number(value) = value.to_s.gsub(/\B(?=(\d{3})+\z)/, ",")
  end
end
