# frozen_string_literal: true

module Layers
  # Finds circles of imports.
  #
  # It checks each folder by itself. An import counts in the innermost folder that contains both modules, as an import
  # between the two entries of that folder: if engine/calls imports memory/held, then engine imports memory. This finds
  # every circle between files and every circle between folders.
  #
  # Imports between a module and its own children do not count (engine/mod.rs and engine/calls.rs). Rust cuts one type
  # into files in this way: the children use the struct of their parent, and the parent calls their functions and has
  # their types in its fields. So does Ruby with a class (doctor.rb and doctor/page.rb). A child that must not know its
  # parent gets a floor of its own below it.
  class Circles
    # @param imports [Array<Import>]
    # @param folders [Boolean] with false, treats all files as if they were in one folder
    def initialize(imports, folders: true)
      @by_folder = folders
      # { folder => { module there => { other module there => import } } }
      @folders = Hash.new { |all, folder| all[folder] = Hash.new { |from, name| from[name] = {} } }
      imports.each do |import|
        folder, from, to = seen_in(import)
        @folders[folder][from][to] ||= import if from && to
      end
    end

    # @return [Array<Array<Import>>] shortest circles without a common import, until every other circle shares one
    def all
      @folders.each_value.flat_map do |edges|
        found = edges.keys.filter_map { |name| circle_from(edges, name) }.sort_by(&:size)
        found.each_with_object([]) do |circle, shown|
          shown << circle unless circle.intersect?(shown.flatten)
        end
      end
    end

    # @return [Boolean] whether a circle goes through the import
    def through?(import)
      folder, from, to = seen_in(import)
      from && to ? !way(@folders[folder], to, from).nil? : false
    end

    # @return [Array<String>] the names of both ends of an import in a circle
    def ends(import)
      folder, *entries = seen_in(import)
      entries.map { |entry| [*folder, *entry].join("/") }
    end

    private

    # @return [Array] the innermost folder of both modules of an import, and the entries of both there; nil for the
    #   module of the folder itself
    def seen_in(import)
      from, to = [import.from, import.to].map { |name| name.split("/") }
      shared = from.zip(to).take_while { |left, right| left == right }.size
      return [from.take(shared), from[shared], to[shared]] if @by_folder || shared == [from.size, to.size].min

      [[], import.from, import.to]
    end

    def circle_from(edges, name)
      edges[name].filter_map { |to, import| way(edges, to, name)&.then { |rest| [import, *rest] } }.min_by(&:size)
    end

    # The shortest chain of imports from one entry to another; nil when there is none.
    def way(edges, from, to)
      ways = { from => [] }
      queue = [from]
      while (name = queue.shift)
        return ways[name] if name == to

        edges.fetch(name, {}).each do |other, import|
          next if ways.key?(other)

          ways[other] = [*ways[name], import]
          queue << other
        end
      end
    end
  end
end
