# frozen_string_literal: true

# Has a name and a balance.
class Account < ApplicationRecord
  validates :balance, numericality: { greater_than_or_equal_to: 0 }
end
