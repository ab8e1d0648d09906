# frozen_string_literal: true

# In which order Ruby passes the numbers to the buffered hooks, and what they mean. Ruby 4.1 changes both; previews of
# it may still have the old contract, so IO::Buffer::VERSION tells.
module Contract
  OFFSET_FIRST = IO::Buffer.const_defined?(:VERSION) && IO::Buffer::VERSION >= 3

  # The contract of this Ruby, and the other one, by the names that `contract=` takes.
  OWN, OTHER = OFFSET_FIRST ? %i[offset_length length_offset] : %i[length_offset offset_length]
  # The numbers of this Ruby by name.
  NUMBERS = OFFSET_FIRST ? "offset, length" : "length, offset"
end
