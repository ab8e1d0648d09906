# frozen_string_literal: true

return if defined?(ReferencePages) # YARD reads its options twice

require "cgi"

# YARD loads this file (.yardopts). Its RDoc knows less Markdown than GitHub does, so this mends:
#
# - links between pages: in the reference the file of a page has the name of the page alone (file.rails.html), but RDoc
#   makes docs/rails_md.html from docs/rails.md;
# - ids of headings: RDoc makes ids of its own, but links have GitHub's;
# - code and links in tables: RDoc leaves them as they are;
# - the words after "```ruby", which are for spec/docs_spec.rb: RDoc takes them for a line of code.
module ReferencePages
  LINK = %r{href="(?<folders>(?:[\w.]+/)*)(?<name>\w+)(?:_md\.html|\.md)}
  HEADING = %r{<h(?<level>\d) id="label-[^"]*">(?<title>.*?)</h\k<level>>}m
  FENCE = /^```.*?^```$/m
  TABLE = /^\|.*\n\|[ :|-]+\|\n(?:\|.*\n)*/

  def htmlify(text, markup = options.markup)
    return super unless markup == :markdown

    html = super(without_words(with_tables(text)), markup).gsub(LINK) { "href=\"#{page(*Regexp.last_match.captures)}" }
    html.gsub(HEADING) do
      level, title = Regexp.last_match.captures
      "<h#{level} id=\"#{anchor(title)}\">#{title}</h#{level}>"
    end
  end

  private

  def without_words(text) = text.gsub(/^```ruby .*$/, "```ruby")

  def with_tables(text)
    text.gsub(Regexp.union(FENCE, TABLE)) { |part| part.start_with?("|") ? table(part.lines(chomp: true)) : part }
  end

  def table(lines)
    head, _, *rows = lines.map { |line| line[/\A\|(.*)\|\z/, 1].to_s.split(/(?<!\\)\|/, -1).map(&:strip) }
    rows = [row(head, "th"), *rows.map { |cells| row(cells, "td") }]
    "<table>\n#{rows.join("\n")}\n</table>\n"
  end

  def row(cells, tag) = "<tr>#{cells.map { |cell| "<#{tag}>#{inline(cell)}</#{tag}>" }.join}</tr>"

  def inline(cell)
    CGI.escapeHTML(cell.gsub("\\|", "|"))
       .gsub(/`([^`]*)`/) { "<code>#{Regexp.last_match(1).gsub('*', '&#42;')}</code>" }
       .gsub(/\[([^\]]*)\]\(([^)]*)\)/, '<a href="\2">\1</a>')
       .gsub(/\*\*(.+?)\*\*/, '<strong>\1</strong>')
  end

  # The name of a page in the reference. A page that is not there keeps its link, and the index of docs/ becomes the
  # reference's own menu.
  def page(folders, name)
    return "#{folders}#{name}.md" if folders.include?("bench/")

    name == "README" && folders.include?("docs/") ? "file_list.html" : "file.#{name}.html"
  end

  def anchor(title)
    title.sub(/<span>.*/m, "").gsub(/<[^>]*>/, "").downcase.gsub(/[^\w\- ]/, "").tr(" ", "-")
  end
end

YARD::Templates::Helpers::HtmlHelper.prepend(ReferencePages)
