# frozen_string_literal: true

require "erb"
require "json"

module UringIO
  # The common parts of our HTML pages. Each page is one file that loads nothing, and is readable in light mode, in dark
  # mode and on paper. Names that a program chooses (files, peers, its own command) go through +h+ or +data+: they are
  # text, never markup.
  module HTML
    include ERB::Util

    # The colours by their meaning. Pictures outside of a page need them as well.
    COLORS = File.expand_path("colors.css", __dir__)
    STYLE = File.expand_path("html.css", __dir__)

    private

    # @param path [String] of an ERB template
    # @param binding [Binding] that of the page, whose methods and constants the template sees
    def render(path, binding) = ERB.new(text_of(path), trim_mode: "-").result(binding)

    # @param paths [Array<String>] of style sheets after the common ones
    # @return [String] an element
    def style(*paths) = style_of(COLORS, STYLE, *paths)

    def style_of(*paths)
      "<style>\n#{paths.map { |path| text_of(path) }.join}</style>"
    end

    # Data for a script of the page. The text has no "<", so no browser finds the end of the element in it.
    # @return [String] an element
    def data(id, object)
      %(<script type="application/json" id="#{h(id)}">#{JSON.generate(object).gsub('<', '\u003c')}</script>)
    end

    # @param paths [Array<String>] of JavaScript files, which become one script without global names
    # @return [String] an element
    def script(*paths)
      "<script>\n(() => {\n\"use strict\";\n#{paths.map { |path| text_of(path) }.join}})();\n</script>"
    end

    def text_of(path) = File.read(path, encoding: Encoding::UTF_8)
  end
  private_constant :HTML
end
