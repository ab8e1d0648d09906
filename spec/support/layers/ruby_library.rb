# frozen_string_literal: true

require_relative "circles"
require_relative "house"
require_relative "ruby_code"

module Layers
  # The files of lib and their imports: an import is a `require`, or the use of a constant that another file defines.
  #
  # A file's name is its path without ".rb" in the folder of the library, and "" for the file of the library itself.
  # Where several files open a class (async.rb adds to Selector), the constant belongs to the file of the same name.
  # Constants that no file defines are native, Ruby's or of other gems: they are no imports.
  class RubyLibrary
    # A change of a class or module that is not ours, and a description of it.
    Change = Data.define(:file, :line, :what)

    # @param folder [String] lib
    # @param library [String] the name of the library's file, and of its folder
    # @param namespace [String] the module around all constants
    # @param native [Array<String>] constants that the extension defines in that module
    def initialize(folder, library, namespace, native: [])
      @library = library
      @namespace = namespace
      @codes = Dir["**/*.rb", base: folder].sort.to_h do |file|
        [name_of(file.delete_suffix(".rb")), RubyCode.new(File.read(File.join(folder, file)))]
      end
      @homes = homes
      @known = [*@homes.keys, *native.map { |name| "#{namespace}::#{name}" }, namespace]
    end

    # @return [Hash{String => Array<String>}] the file of each name
    def files
      @codes.keys.to_h { |name| [name, [file_of(name)]] }
    end

    # @return [Array<Import>] for each file the first import of each other file
    def imports
      @codes.flat_map do |name, code|
        found = [*required(name, code), *used(name, code)]
        found.reject { |import| import.to == name }.uniq(&:to)
      end
    end

    # @return [Array<Change>] changes of other people's classes and modules
    def changes
      @codes.flat_map do |name, code|
        code.changes.reject { |change| own?(change) }.map do |change|
          Change.new(file_of(name), change.line, "#{change.what} of #{change.name.delete_prefix('::')}")
        end
      end
    end

    private

    def name_of(path) = path.delete_prefix(@library).delete_prefix("/")

    def file_of(name) = "#{[@library, *name].reject(&:empty?).join('/')}.rb"

    def homes
      definers = Hash.new { |hash, constant| hash[constant] = [] }
      @codes.each { |name, code| code.definitions.uniq.each { |constant| definers[constant] << name } }
      definers.keep_if { |constant, _| constant.start_with?("#{@namespace}::") }
      definers.to_h { |constant, names| [constant, names.find { |name| named_for?(name, constant) } || names.first] }
    end

    def named_for?(name, constant)
      name.delete("_/").casecmp?(constant.delete_prefix(@namespace).delete("_:"))
    end

    def required(name, code)
      code.requires.filter_map do |path, line|
        beside = path.start_with?("./")
        to = beside ? File.expand_path(path, "/#{File.dirname(file_of(name))}").delete_prefix("/") : path
        next unless to == @library || to.start_with?("#{@library}/")

        Import.new(file_of(name), line, path.delete_prefix("./"), name, name_of(to)) if @codes.key?(name_of(to))
      end
    end

    def used(name, code)
      code.uses.filter_map do |use|
        to = @homes[resolve(use)]
        Import.new(file_of(name), use.line, use.name, name, to) if to
      end
    end

    # The full name of the constant that Ruby would find. If we do not know that constant, the innermost module of ours
    # around its use. nil for Ruby's own constants and those of other gems.
    def resolve(use)
      parts = use.name.delete_prefix("::").split("::")
      around = use.name.start_with?("::") ? [nil] : [*use.nesting, nil]
      around.each do |outer|
        next unless @known.include?([outer, parts.first].compact.join("::"))

        return parts.size.downto(1).map { |size| [outer, *parts.first(size)].compact.join("::") }
                    .find { |full| @known.include?(full) }
      end
      nil
    end

    def own?(change)
      full = resolve(change)
      !full.nil? && (full == @namespace || full.start_with?("#{@namespace}::"))
    end
  end
end
