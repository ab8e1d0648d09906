# frozen_string_literal: true

# The libraries of docs/libraries.md. A row of that table is a program of its own: twenty fibers use the library at
# once. The files of spec/programs/libraries/ say how, spec/programs/libraries_spec.rb runs them and compares.
module Libraries
  FIBERS = 20
  # A server answers a request with this word only when all the others have asked, too (see Gate).
  GATHER = "gather"
  # The variable that makes the rows run on "async" or "threads" instead, to see whether a fault is ours.
  ON = "URING_IO_LIBRARIES_ON"

  # +name+ is the first cell of the row, +gem+ is nil for what comes with Ruby, +server+ a name of Servers, and
  # +parties+ how many fibers meet at the gate at once. Work evaluates +work+.
  Row = Struct.new(:name, :gem, :server, :parties, :work, keyword_init: true)

  class << self
    def rows
      @rows ||= {}
    end

    # Defines a row. The block runs in the process that uses the library, so it requires it there.
    def row(name, gem: name, server: nil, parties: FIBERS, &work)
      raise ArgumentError, "two rows are named #{name}" if rows.key?(name)

      rows[name] = Row.new(name:, gem:, server:, parties:, work:)
    end

    def load_rows
      Dir[File.expand_path("../programs/libraries/*.rb", __dir__)].each { |path| require path }
    end
  end
end
