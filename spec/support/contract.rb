# frozen_string_literal: true

# The order in which Ruby passes the numbers to the buffered hooks, and their meaning. Ruby 4.1 changes both. Its
# previews may still have the old contract, so this checks IO::Buffer::VERSION.
module Contract
  OFFSET_FIRST = IO::Buffer.const_defined?(:VERSION) && IO::Buffer::VERSION >= 3

  # The contract of this Ruby, and the other one, under the names that `contract=` takes.
  OWN, OTHER = OFFSET_FIRST ? %i[offset_length length_offset] : %i[length_offset offset_length]
  # The names of the numbers, in this Ruby's order.
  NUMBERS = OFFSET_FIRST ? "offset, length" : "length, offset"
end
