# frozen_string_literal: true

module UringIO
  # How many records a trace keeps.
  class Trace
    # A trace keeps this many records of each scheduler, selector and ring, unless somebody asks for more. So few of 40
    # bytes each stay in the processor's cache, which makes recording cheap.
    RECORDS = 1 << 15
    # The room for this many takes 2.7 GB.
    RECORDS_MAX = 1 << 26
    private_constant :RECORDS_MAX

    # @param records [Integer, String]
    # @param name [String] of the argument
    # @return [Integer]
    # @raise [ArgumentError] when a trace cannot keep that many
    # @api private
    def self.check_records(records, name = "records:")
      number = records.is_a?(String) ? Integer(records, 10, exception: false) : records
      return number if number.is_a?(Integer) && number.between?(1, RECORDS_MAX)

      raise ArgumentError, "#{name} #{records.inspect} is not a number from 1 to #{RECORDS_MAX}"
    end
  end
end
