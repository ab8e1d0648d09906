# frozen_string_literal: true

module Layers
  # An import: its file and line, the path as the file writes it, and the names of both modules.
  Import = Data.define(:file, :line, :text, :from, :to)

  # A set of modules. A member stands for the module of that name and all modules below it: "uring" covers
  # "uring/setup". Where two members cover a module, the longer one wins. Members may import each other, unless they are
  # `apart`.
  Floor = Data.define(:name, :members, :apart) do
    def initialize(name:, members:, apart: false) = super
  end

  # A folder of sources. Its modules stand on floors and import modules of lower floors only.
  class House
    # @param folder [String] of the sources, from the root of the repository
    # @param imports [Array<Import>]
    # @param modules [Hash{String => Array<String>}] the files of each module
    # @param floors [Array<Floor>] from the top
    # @param exceptions [Hash{String => Hash{String => String}}] imports that may point upwards or close a circle for
    #   now: from, to, and the reason
    # @param folders [Boolean] whether imports between folders may form no circle, or only those between files
    def initialize(folder:, imports:, modules:, floors:, exceptions: {}, folders: true)
      @folders = folders
      @folder = folder
      @modules = modules
      @floors = floors
      @exceptions = exceptions
      @imports = imports
    end

    # @return [Array<String>] a sentence for each module without a floor
    def on_no_floor
      @modules.reject { |name, _| floor_of(name) }.map do |name, files|
        "#{@folder}/#{files.first}: #{name} is on no floor: move it into the folder of one, or name it there"
      end
    end

    # @return [Array<String>] a sentence for each import that points upwards, or sideways on a floor whose members are
    #   apart
    def upward
      @imports.reject { |import| excepted?(import) }.filter_map { |import| complaint(import) }
    end

    # @return [Array<String>] a text for each circle
    def circles
      circles = Circles.new(@imports.reject { |import| excepted?(import) }, folders: @folders)
      circles.all.map do |circle|
        steps = circle.map { |import| "  #{circles.ends(import).join(' -> ')}: #{said(import)}" }
        "a circle:\n#{steps.join("\n")}\n  Move the shared part to a module below both, or pass it as an argument."
      end
    end

    # @return [Array<String>] a sentence for each exception that can go
    def unneeded
      kept = @imports.reject { |import| excepted?(import) }
      idle = exceptions.reject { |from, to| needed?(from, to, kept) }
      idle.map { |from, to| "#{@folder}: #{from} => #{to} needs no exception any longer: remove this line" }
    end

    private

    def exceptions
      @exceptions.flat_map { |from, reasons| reasons.keys.map { |to| [from, to] } }
    end

    def excepted?(import)
      @exceptions.dig(import.from, import.to)
    end

    def needed?(from, to, kept)
      found = @imports.find { |import| import.from == from && import.to == to } or return false
      complaint(found) || Circles.new([*kept, found], folders: @folders).through?(found)
    end

    def complaint(import)
      from, to = [import.from, import.to].map { |name| floor_of(name) }
      return if from.nil? || to.nil? || allowed?(import, from, to)

      places = "#{called(import.from)} is on the floor \"#{from.name}\", and #{called(import.to)} "
      places += from == to ? "beside it, where each stands apart" : "above, on \"#{to.name}\""
      "#{said(import)}: #{places}. Move the shared part to a lower floor, or pass it as an argument."
    end

    def allowed?(import, from, to)
      return @floors.index(from) < @floors.index(to) unless from == to

      !from.apart || member(from, import.from) == member(from, import.to)
    end

    def floor_of(name)
      @floors.max_by { |floor| member(floor, name)&.size || -1 }.then { |floor| floor if member(floor, name) }
    end

    def member(floor, name)
      floor.members.select { |member| name == member || name.start_with?("#{member}/") }.max_by(&:size)
    end

    def called(name) = name.empty? ? "the root" : name

    def said(import)
      "#{@folder}/#{import.file}:#{import.line} imports #{import.text}"
    end
  end
end
