# frozen_string_literal: true

# Checks the pages for the rules of this project's prose that a machine can check: their form, their links, the index of
# docs/, the words that docs/words.md replaces, and sentences that a reader has to decode. In comments it checks only
# the sentences.
class Prose
  PAGES = "{*.md,bench/*.md,docs/**/*.md}"
  # Files with comments, and the pattern of a line that is a comment. `\#{` begins a line of a heredoc.
  COMMENTS = {
    "{bench,bin,examples,lib,rakelib,soak,spec}/**/*.{rb,rake}" => /^\s*#(?!\{)\s?(.*)/,
    "{crates,ext}/**/*.rs" => %r{^\s*//[/!]?\s?(.*)}
  }.freeze
  INDEX = "docs/README.md"
  WORDS = "docs/words.md"
  WIDTH_MAX = 120

  # The place where a sentence begins: at the beginning of a paragraph or list entry, or after another sentence.
  START = /(?:(?<=\n\n)|(?<=[.!?:])\s+|^ *(?:[-*]|\d+\.) +|(?<=\*\*)\s+)\**/
  # The rest of a sentence, within the paragraph or entry.
  REST = /(?:[^.?!|\n]|\n(?! *(?:\n|[-*] |\d+\. )))*[.!]/
  # Patterns of such sentences. Each one has a reason, which tells the writer what to do.
  SENTENCES = {
    /#{START}(?:Of (?:what|whom)|What|Who|Whom|Whoever|Whatever)\b#{REST}/ =>
      "the subject is a clause: name the actor (not \"What is queued is kept\", but \"The ring keeps ...\")",
    /\b(?:has|have|had)\s+(?:the|its|an?|our|their|it|them|[\w']+'s)\s+(?:\w+\s+)?
     (?:do|run|wait|refuse|look|read|write|make|take|keep|give|begin|end|wake|submit)\b/x =>
      "\"has X do\": write \"makes X do\" or \"lets X do\"",
    /\b(?:is|are|was|were)\s+no\s+more\b|\bno\s+more(?=[.,;:)])|\bnot\b[^.]*\bany\s+more\b/ =>
      "\"no more\": write \"no longer\"",
    /\b(?:is|are|was|were)\s+(?:told|asked)\b(?!\s+for)/ =>
      "the actor is missing: say who tells or asks (\"The kernel reports ...\")",
    /\bbut\s+for\b/ => "\"but for\": write \"except\" or \"without\""
  }.freeze

  # A page without its fenced blocks, and without code in its sentences. Each character stays at its place.
  class Page
    attr_reader :name, :lines, :text

    def initialize(root, name)
      @name = name
      content = File.read(File.join(root, name))
      @lines = content.lines(chomp: true)
      blank = ->(found) { found.gsub(/[^\n]/, " ") }
      @text = content.gsub(/^ *```.*?^ *```$/m, &blank)
    end

    # The text with x for each character of code, because code has no words and no sentences.
    def sentences = text.gsub(/`[^`]*`/) { |code| code.gsub(/[^\n]/, "x") }

    def titles = text.scan(/^(#+) (.*)$/)

    # The anchors of the headings, as GitHub makes them.
    def anchors = titles.map { |_, title| title.downcase.gsub(/[^\w\- ]/, "").tr(" ", "-") }

    # The links to files and headings of the repository.
    def links
      text.scan(/\]\(([^)\s]+)\)|\b(?:src|href)="([^"]+)"/).flatten.compact.grep_v(/\A\w+:/)
    end

    # Yields the line and the text of each match.
    def each_match(pattern, within = sentences)
      within.scan(pattern) do
        found = Regexp.last_match
        space = found[0][/\A\s*/]
        yield found.pre_match.count("\n") + space.count("\n") + 1, found[0].split.join(" ")
      end
    end
  end

  # The comments of a program. All its other lines are empty here, so that each comment keeps its line number.
  class Comments < Page
    def initialize(root, name, pattern)
      super(root, name)
      @text = lines.map { |line| "#{line[pattern, 1]}\n" }.join
    end
  end

  def initialize(root)
    @root = root
    @pages = Dir.glob(PAGES, base: root).sort.to_h { |name| [name, Page.new(root, name)] }
    @comments = COMMENTS.flat_map do |files, pattern|
      Dir.glob(files, base: root).sort.map { |name| Comments.new(root, name, pattern) }
    end
  end

  # @return [Array<String>] "FILE:LINE: the fault, and what to do"
  def faults
    of_pages = @pages.each_value.flat_map do |page|
      [*wide(page), *titles(page), *dead_links(page), *unlisted(page), *words(page), *sentences(page)]
    end
    of_pages + @comments.flat_map { |comments| sentences(comments) }
  end

  private

  # Lines that are too wide. A row of a table and a line without a space may be, because nobody can break them.
  def wide(page)
    page.lines.each.with_index(1).filter_map do |line, number|
      next if line.size <= WIDTH_MAX || line.start_with?("|") || !line.strip.include?(" ")

      "#{page.name}:#{number}: #{line.size} characters: #{WIDTH_MAX} at most"
    end
  end

  def titles(page)
    number = page.titles.count { |marks, _| marks == "#" }
    return [] if number == 1 && page.lines.first.start_with?("# ")

    ["#{page.name}:1: #{number} titles (\"# ...\"): a page begins with one and has no other"]
  end

  def dead_links(page)
    page.links.reject { |link| leads?(page, link) }.map do |link|
      "#{page.name}:#{page.lines.index { |line| line.include?(link) } + 1}: #{link} leads nowhere"
    end
  end

  def leads?(page, link)
    file, anchor = link.split("#", 2)
    name = file.empty? ? page.name : File.join(File.dirname(page.name), file)
    target = File.expand_path(name, @root)
    return false unless File.exist?(target)

    anchor.nil? || @pages[target.delete_prefix("#{@root}/")]&.anchors&.include?(anchor)
  end

  def unlisted(page)
    return [] if page.name == INDEX || !page.name.start_with?("docs/") || !@pages.key?(INDEX)
    return [] if @pages[INDEX].links.any? { |link| "docs/#{link}" == page.name }

    ["#{page.name}:1: not in #{INDEX}: add it there, with a sentence"]
  end

  def words(page)
    return [] if page.name == WORDS

    replaced.flat_map do |word, better|
      found = []
      page.each_match(/(?<![\w-])#{Regexp.escape(word)}s?(?![\w-])/i) { |line, text| found << [line, text] }
      found.map { |line, text| "#{page.name}:#{line}: #{text.inspect}: write #{better.inspect} (#{WORDS})" }
    end
  end

  # The words in the table "Not these" of docs/words.md, each with the better one.
  def replaced
    @replaced ||= begin
      table = @pages[WORDS]&.text.to_s[/^## Not these\n(.*?)(?=^## |\z)/m, 1].to_s
      rows = table.scan(/^\| ([^|]+) \| ([^|]+) \|$/).drop(2)
      rows.flat_map { |words, better| words.split(", ").map { |word| [word, better] } }
    end
  end

  def sentences(page)
    SENTENCES.flat_map do |pattern, reason|
      found = []
      page.each_match(pattern) { |line, text| found << "#{page.name}:#{line}: #{text[0, 60].inspect}: #{reason}" }
      found
    end
  end
end
