# frozen_string_literal: true

require_relative "prose"

desc "Check the pages: width, titles, links, the index of docs/, words and sentences; and the sentences of comments"
task "lint:prose" do
  faults = Prose.new(File.expand_path("..", __dir__)).faults
  abort "#{faults.join("\n")}\n#{faults.size} faults in the pages and comments" if faults.any?
end

task lint: "lint:prose"
