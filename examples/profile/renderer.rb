# frozen_string_literal: true

# A program that computes: it renders a page again and again.

require "erb"

template = ERB.new("<ul><% rows.each do |row| %><li><%= ERB::Util.h(row) %></li><% end %></ul>")
rows = Array.new(500) { |number| "row <#{number}>" }
puts Array.new(1000) { template.result_with_hash(rows:).bytesize }.sum
