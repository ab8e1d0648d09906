# frozen_string_literal: true

# The signatures in sig/, by the name of the module. Needs the gem rbs.
class Signatures
  FOLDER = File.expand_path("../../sig", __dir__)

  # The names of the constants. For the methods of instances and of the module itself, the lists of overloads
  # (RBS::Types::Function) by name.
  Face = Struct.new(:constants, :instance, :singleton)

  # How a method may be called.
  # @!attribute positionals
  #   @return [Range<Integer>] their number; endless for any number
  # @!attribute required
  #   @return [Array<Symbol>] the required keywords, sorted
  # @!attribute keywords
  #   @return [Array<Symbol>] all keywords, sorted
  # @!attribute open
  #   @return [Boolean] whether it takes any other keywords
  Shape = Struct.new(:positionals, :required, :keywords, :open)

  # @return [Shape] of one or more overloads
  def self.shape(overloads)
    counts = overloads.map do |call|
      required = call.required_positionals.size + call.trailing_positionals.size
      [required, call.rest_positionals ? nil : required + call.optional_positionals.size]
    end
    most = counts.map(&:last)
    required = overloads.map { |call| call.required_keywords.keys }.reduce(:&)
    keywords = overloads.flat_map { |call| call.required_keywords.keys + call.optional_keywords.keys }
    Shape.new(counts.map(&:first).min..(most.max unless most.include?(nil)), required.sort, keywords.uniq.sort,
              overloads.any?(&:rest_keywords))
  end

  # @return [Hash{String => Face}]
  attr_reader :faces

  def initialize
    @faces = Hash.new { |faces, name| faces[name] = Face.new([], {}, {}) }
    Dir["#{FOLDER}/**/*.rbs"].each do |path|
      RBS::Parser.parse_signature(File.read(path)).last.each { |declaration| take(declaration, nil) }
    end
    @faces.default = nil
  end

  private

  def take(declaration, outer)
    name = declaration.name.to_s
    case declaration
    when RBS::AST::Declarations::Constant
      @faces[outer].constants |= [name.to_sym]
    when RBS::AST::Declarations::Class, RBS::AST::Declarations::Module
      @faces[outer].constants |= [name.to_sym] if outer
      inner = [outer, name].compact.join("::")
      @faces[inner] # even when the module is empty
      declaration.members.each { |member| take_member(member, inner) }
    end
  end

  def take_member(member, outer)
    case member
    when RBS::AST::Declarations::Base then take(member, outer)
    when RBS::AST::Members::MethodDefinition
      methods_of(member, outer)[member.name] = member.overloads.map { |overload| overload.method_type.type }
    when RBS::AST::Members::AttrReader then methods_of(member, outer)[member.name] = [nothing(member)]
    when RBS::AST::Members::AttrAccessor
      methods_of(member, outer)[member.name] = [nothing(member)]
      value = RBS::Types::Function::Param.new(name: nil, type: member.type)
      methods_of(member, outer)[:"#{member.name}="] = [nothing(member).update(required_positionals: [value])]
    end
  end

  def methods_of(member, outer)
    @faces[outer][member.kind]
  end

  def nothing(member)
    RBS::Types::Function.empty(member.type)
  end
end
