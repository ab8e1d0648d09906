# frozen_string_literal: true

# Who has how much.
class Account < ApplicationRecord
  validates :balance, numericality: { greater_than_or_equal_to: 0 }
end
