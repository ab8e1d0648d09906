# frozen_string_literal: true

module Bench
  # Formats numbers for people.
  module Numbers
    module_function

    # 12345.6 as "12,346", 12.34 as "12.3", 0.1234 as "0.12" and 0.001234 as "0.0012".
    def number(value)
      return if value.nil?
      return "0" if value.zero?

      decimals = (2 - Math.log10(value.abs).floor).clamp(0..)
      decimals -= 1 if value.abs < 1
      whole, part = format("%.#{decimals}f", value).split(".")
      [whole.gsub(/(?<=\d)(?=(\d{3})+\z)/, ","), part].compact.join(".")
    end

    def count(value) = number(value)&.sub(/\.0+\z/, "")

    def megabytes(kilobytes) = kilobytes && number(kilobytes / 1024.0)

    def list(names)
      *first, last = names
      first.empty? ? last.to_s : "#{first.join(', ')} and #{last}"
    end
  end
end
