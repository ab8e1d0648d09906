# frozen_string_literal: true

module Layers
  # The code of one Rust file, as far as imports need it. Spaces replace comments, strings and tests, so that every
  # other character keeps its line.
  class RustCode
    # Block comments nest.
    COMMENT = %r{//[^\n]*|(?<block>/\*(?:[^*/]|\*(?!/)|/(?!\*)|\g<block>)*\*/)}
    STRING = /(?<![\w'])[bc]?r(?<hashes>#*)".*?"\k<hashes>|[bc]?"(?:\\.|[^"\\])*"/m
    # A lifetime has no second quote.
    CHARACTER = /b?'(?:\\u\{\h+\}|\\x\h\h|\\.|[^'\\])'/
    BRACES = /(?<braces>\{(?:[^{}]|\g<braces>)*\})/
    ATTRIBUTES = /(?:#\[[^\]]*\]\s*)*/
    VISIBILITY = /(?:pub(?:\([^)]*\))?\s+)?/
    # An item that rustc compiles only for tests. A test may use everything that it tests.
    TEST = /#\[cfg\(test\)\]\s*#{ATTRIBUTES}[^;{]*(?:;|#{BRACES})/
    MODULE = /(?<attributes>#{ATTRIBUTES})(?<!\w)#{VISIBILITY}mod\s+(?<name>\w+)\s*;/
    INLINE = /\bmod\s+(?<name>\w+)\s*#{BRACES}/
    USE = /(?<![\w:])(?<public>pub(?:\([^)]*\))?\s+)?use\s+(?<tree>[^;]+);/
    PATH = /(?<![\w:])[a-z_]\w*(?:::\w+)+/

    # A module in a file of its own: its name, the file that `#[path]` gives it, and whether `#[cfg_attr]` limits that
    # path to some systems.
    Child = Data.define(:name, :path, :conditional)
    # A path as the file writes it: its segments (the last is `*` for a glob), its name in this file (nil outside of
    # `use`), whether `pub use` passes it on, the inline modules around it, and its line.
    Path = Data.define(:segments, :alias, :public, :inside, :line)

    def initialize(text)
      @text = blank(blank(text, Regexp.union(COMMENT, STRING, CHARACTER)), TEST)
    end

    def children
      @text.to_enum(:scan, MODULE).map do
        found = $~
        attributes = found[:attributes]
        Child.new(found[:name], attributes[/\bpath\s*=\s*"([^"]*)"/, 1], attributes.include?("cfg_attr"))
      end
    end

    # The paths of all `use` declarations, with their groups split up.
    def uses
      @uses ||= @text.to_enum(:scan, USE).flat_map do
        found = $~
        public = !found[:public].nil?
        branches(found[:tree]).map { |segments, name| path(segments, name, found.begin(0), public:) }
      end
    end

    # The paths in expressions, types and attributes.
    def paths
      blank(@text, USE).to_enum(:scan, PATH).map { path($~[0].split("::"), nil, $~.begin(0)) }
    end

    # The line of each match.
    def lines(pattern)
      @text.to_enum(:scan, pattern).map { line_of($~.begin(0)) }
    end

    private

    # Keeps one kind of string: the file in `#[path = "..."]`.
    def blank(text, pattern)
      text.gsub(pattern) do |found|
        $~.pre_match.match?(/\bpath\s*=\s*\z/) ? found : found.gsub(/[^\n]/, " ")
      end
    end

    def path(segments, name, offset, public: false)
      Path.new(segments, name, public, inside(offset), line_of(offset))
    end

    def line_of(offset)
      @text[0, offset].count("\n") + 1
    end

    # The names of the inline modules around an offset, from the outermost.
    def inside(offset)
      @inline ||= @text.to_enum(:scan, /(?=#{INLINE})/).map { [$~[:name], $~.begin(:braces)..$~.end(:braces)] }
      @inline.select { |_, range| range.cover?(offset) }.sort_by { |_, range| range.begin }.map(&:first)
    end

    # `a::{b, c::{d as e}}` as [[a, b], b], [[a, c, d], e].
    def branches(tree, before = [])
      tree = tree.strip
      return group(tree[1...-1], before) if tree.start_with?("{")

      first, rest = tree.split("::", 2)
      return branches(rest, [*before, first.strip]) if rest

      name, other = tree.split(/\s+as\s+/)
      segments = name == "self" ? before : [*before, name]
      [[segments, other || segments.last]]
    end

    def group(inner, before)
      split(inner).flat_map { |part| part.strip.empty? ? [] : branches(part, before) }
    end

    # Splits at the commas outside of braces.
    def split(inner)
      inner.gsub(BRACES) { |braces| braces.tr(",", "\0") }.split(",").map { |part| part.tr("\0", ",") }
    end
  end
end
