# frozen_string_literal: true

# The libraries of docs/libraries.md. Each row of that table is a program of its own, in which twenty fibers use the
# library at once. The files of spec/programs/libraries/ define the rows, and spec/programs/libraries_spec.rb runs them
# and compares the findings with the page.
module Libraries
  FIBERS = 20
  # A server answers a request with this word only when all other fibers have sent one, too (see Gate).
  GATHER = "gather"
  # The variable that runs the rows on "async" or "threads" instead, which shows whether a fault is ours.
  ON = "URING_IO_LIBRARIES_ON"

  # +name+ is the first cell of the row. +gem+ is nil for libraries that come with Ruby. +server+ is a name of Servers.
  # +parties+ is the number of fibers that meet at the gate at once. Work evaluates +work+.
  Row = Struct.new(:name, :gem, :server, :parties, :work, keyword_init: true)

  class << self
    def rows
      @rows ||= {}
    end

    # Defines a row. The block runs in the process that uses the library, so it requires the library itself.
    def row(name, gem: name, server: nil, parties: FIBERS, &work)
      raise ArgumentError, "two rows are named #{name}" if rows.key?(name)

      rows[name] = Row.new(name:, gem:, server:, parties:, work:)
    end

    def load_rows
      Dir[File.expand_path("../programs/libraries/*.rb", __dir__)].each { |path| require path }
    end
  end
end
