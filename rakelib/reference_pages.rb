# frozen_string_literal: true

return if defined?(ReferencePages) # YARD reads its options twice

# Loaded by YARD (.yardopts): makes the links between the pages lead somewhere in the reference, too. There a page is a
# file that is named for the page alone (file.rails.html), while RDoc makes docs/rails_md.html of docs/rails.md, and
# has ids of its own for headings, where links have GitHub's. It also takes the words behind "```ruby", which are for
# spec/docs_spec.rb, for a line of code.
module ReferencePages
  LINK = %r{href="(?<folders>(?:[\w.]+/)*)(?<name>\w+)_md\.html}
  HEADING = %r{<h(?<level>\d) id="label-[^"]*">(?<title>.*?)</h\k<level>>}m

  def htmlify(text, *)
    html = super(text.gsub(/^```ruby .*$/, "```ruby"), *).gsub(LINK) { "href=\"#{page(*Regexp.last_match.captures)}" }
    html.gsub(HEADING) do
      level, title = Regexp.last_match.captures
      "<h#{level} id=\"#{anchor(title)}\">#{title}</h#{level}>"
    end
  end

  private

  # What is not in the reference stays as it was written. The index of docs/ is the reference's own menu.
  def page(folders, name)
    return "#{folders}#{name}.md" if folders.include?("bench/")

    name == "README" && folders.include?("docs/") ? "file_list.html" : "file.#{name}.html"
  end

  def anchor(title)
    title.sub(/<span>.*/m, "").gsub(/<[^>]*>/, "").downcase.gsub(/[^\w\- ]/, "").tr(" ", "-")
  end
end

YARD::Templates::Helpers::HtmlHelper.prepend(ReferencePages)
