# frozen_string_literal: true

require_relative "circles"
require_relative "house"
require_relative "rust_code"

module Layers
  # The modules of a crate and their imports. Starting at lib.rs, it follows each `mod`, as rustc does.
  #
  # A module's name is its path without `crate`: "uring/call", and "" for the crate itself. A module has a second file
  # if `#[cfg_attr(..., path = "...")]` names one for other systems.
  #
  # A `mod` declaration is no import. A re-export (`pub use`) of a module's own children is none either: it only gives
  # them a shorter name. So an import of such a name counts as an import of the module that defines it.
  class RustCrate
    # @param folder [String] of lib.rs
    def initialize(folder)
      @folder = folder
      @files = Hash.new { |hash, name| hash[name] = [] }
      @codes = {}
      visit([], "lib.rs")
    end

    # @return [Hash{String => Array<String>}] the files of each module, in the folder of lib.rs
    attr_reader :files

    # @return [RustCode]
    def code(file)
      @codes[file] ||= RustCode.new(File.read(File.join(@folder, file)))
    end

    # @return [Array<String>] the files that no `mod` declares
    def undeclared
      Dir["**/*.rs", base: @folder] - @files.values.flatten
    end

    # @return [Array<Import>] for each file the first import of each other module
    def imports
      @files.flat_map do |name, files|
        files.flat_map { |file| imports_of(name, file).uniq(&:to) }
      end
    end

    private

    def visit(module_path, file)
      @files[module_path.join("/")] << file
      code(file).children.each do |child|
        beside = File.join(File.dirname(file), child.path) if child.path
        own = [*module_path, child.name]
        visit(own, clean(beside)) if beside
        visit(own, default_file(file, child.name)) unless beside && !child.conditional
      end
    end

    def default_file(file, name)
      folder = %w[mod.rs lib.rs].include?(File.basename(file)) ? File.dirname(file) : file.delete_suffix(".rs")
      ["#{folder}/#{name}.rs", "#{folder}/#{name}/mod.rs"].map { |path| clean(path) }
                                                          .find { |path| File.exist?(File.join(@folder, path)) } or
        raise "#{file}: `mod #{name};` has no file"
    end

    def clean(path)
      File.expand_path(path, "/").delete_prefix("/")
    end

    def imports_of(name, file)
      module_path = name.split("/")
      [*code(file).uses, *code(file).paths].filter_map do |path|
        to = resolve(path, module_path)&.join("/")
        next if to.nil? || to == name || (path.public && below?(to, name))

        Import.new(file, path.line, path.segments.join("::"), name, to)
      end
    end

    def below?(inner, outer)
      outer.empty? || inner.start_with?("#{outer}/")
    end

    # The module that a path leads to; nil for a path of another crate.
    def resolve(path, module_path, seen = [])
      segments = path.segments - ["*"]
      here = [*module_path, *path.inside]
      case segments.first
      when "crate" then walk([], segments.drop(1), seen)
      when "self" then walk(here, segments.drop(1), seen)
      when "super"
        rest = segments.drop_while { |segment| segment == "super" }
        walk(here[0...-(segments.size - rest.size)], rest, seen)
      else walk(module_path, segments, seen) if @files.key?([*module_path, segments.first].join("/"))
      end
    end

    def walk(from, segments, seen)
      # An inline module is a part of its file.
      from = from[0...-1] until @files.key?(from.join("/"))
      return from if segments.empty?

      name, *rest = segments
      inner = [*from, name]
      return walk(inner, rest, seen) if @files.key?(inner.join("/"))

      follow(from, name, rest, seen) || from
    end

    # The module that defines a name which `from` gets by `use`.
    def follow(from, name, rest, seen)
      return if seen.include?([from, name])

      use = @files[from.join("/")].flat_map { |file| code(file).uses }.find { |path| path.alias == name }
      use && resolve(use.with(segments: [*use.segments, *rest]), from, [*seen, [from, name]])
    end
  end
end
