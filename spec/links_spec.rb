# frozen_string_literal: true

require_relative "support/public_face"

# Checks that the code has everything that the pages name. `rake lint` checks their links (rakelib/prose.rb).
RSpec.describe "The pages" do
  root = File.expand_path("..", __dir__)
  # Without fenced code, where nothing counts as a name.
  text_of = ->(path) { File.read(path).gsub(/^```.*?^```$/m, "") }

  modules = PublicFace.modules
  short = modules.map { |mod| mod.name.split("::").last }.uniq
  # Matches UringIO::Ring, UringIO.run, UringIO::Ring#stat, and the short form Ring#stat.
  ruby = /\A(?:UringIO(?:::[A-Z]\w*)*|(?:#{short.join('|')})(?=#))(?:[.#][a-z_]\w*[?!]?)?(?!\w)/
  elsewhere = Hooks::LACKING.map { |hook| "UringIO::Scheduler##{hook}" }

  named = lambda do |name|
    path, separator, method = name.partition(/[.#]/)
    next Object.const_defined?(path) if separator.empty?

    modules.select { |mod| mod.name == path || mod.name.end_with?("::#{path}") }.any? do |mod|
      separator == "." ? mod.respond_to?(method) : mod.method_defined?(method) || mod.private_method_defined?(method)
    end || elsewhere.include?(name)
  rescue NameError
    false
  end

  rust = /\A[A-Z]\w*::([a-z_]\w*)\z/
  sources = Dir[File.join(root, "{ext,crates}/**/*.rs")]
  rust_text = sources.map { |path| File.read(path) }.join
  folders = %r{\A(?:\.ci|lib|bin|docs|spec|soak|bench|examples|crates|ext|exe|sig)/}
  # Files that the fuzzer makes.
  made = %r{NAME|fuzz/(?:artifacts|corpus)}

  Dir[File.join(root, "{*.md,{docs,bench,soak}/**/*.md}")].each do |path|
    name = path.delete_prefix("#{root}/")
    text = text_of.call(path)
    spans = text.scan(/`([^`]+)`/).flatten

    it "name only what the code has: #{name}" do
      expect(spans.filter_map { |span| span[ruby] }.reject { |found| named.call(found) }).to eq([])
      functions = spans.grep(rust)
      expect(functions.reject { |span| rust_text.match?(/\bfn #{span[rust, 1]}\b|\b#{span[rust, 1]}: /) }).to eq([])
    end

    it "name only files that exist: #{name}" do
      parts = spans.grep(%r{\A[\w/]+\.rs\z})
      expect(parts.reject { |span| sources.any? { |source| source.end_with?("/#{span}") } }).to eq([])
      files = spans.grep(%r{\A[\w./-]+\z}).grep(folders).grep_v(made)
      expect(files.reject { |span| File.exist?(File.join(root, span)) }).to eq([])
    end
  end

  describe "docs/words.md" do
    sections = File.read(File.join(root, "docs/words.md")).split(/^## /).drop(1)
    groups = sections.grep_v(/\ANot these$/).map do |group|
      group.scan(/^\|(.*)\|$/).drop(2).map { |(row)| row.split("|").map(&:strip) }
    end
    types = groups.flatten(1).flat_map { |row| row[3].scan(/`([A-Z]\w+)/).flatten }.uniq
    unknown = types.reject { |type| rust_text.match?(/\b(?:struct|enum|type|trait) #{type}\b/) }

    it "has five columns, and its words in order" do
      expect(groups.flatten(1).map(&:size).uniq).to eq([5])
      words = groups.map { |rows| rows.map { |row| row.first.downcase } }
      expect(words).to eq(words.map(&:sort))
    end

    it "names only types that the code has" do
      expect(unknown).to eq([])
    end
  end

  it "name the modules that opt into unsafe code: docs/architecture.md" do
    section = File.read(File.join(root, "docs/architecture.md"))[/^## Where unsafe lives\n(.*?)(?=^## |\z)/m, 1]
    parts = section.split(/; in the (?:binding|agent)/).map { |part| part.scan(%r{`([\w/]+\.rs)`}).flatten.sort }
    %w[crates/uring_io_core/src ext/uring_io/src ext/uring_io_agent/src].zip(parts).each do |folder, said|
      inside = Dir[File.join(root, folder, "**/*.rs")].select { |file| File.read(file).include?("allow(unsafe_code)") }
      expect(said).to eq(inside.map { |file| file.delete_prefix("#{root}/#{folder}/") }.sort)
    end
  end
end
