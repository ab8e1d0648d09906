# frozen_string_literal: true

# Makes ten accounts with a balance of a hundred each.
class CreateAccounts < ActiveRecord::Migration[7.0]
  def change
    create_table :accounts do |table|
      table.string :name, null: false
      table.integer :balance, null: false, default: 100
      table.timestamps default: "2026-01-01"
    end
    reversible do |direction|
      direction.up { execute "INSERT INTO accounts (name) SELECT 'account ' || n FROM generate_series(1, 10) n" }
    end
  end
end
