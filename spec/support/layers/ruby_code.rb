# frozen_string_literal: true

require "prism"

module Layers
  # One file of Ruby: the constants that it defines and uses, the files that it requires, and the classes and modules
  # that it changes.
  class RubyCode
    # A constant as the file writes it, the modules that Ruby searches for it (`["UringIO::Ring", "UringIO"]`), and its
    # line.
    Use = Data.define(:name, :nesting, :line)
    # A change of a class or module: its name as in Use, the method or keyword that changes it, and the line.
    Change = Data.define(:name, :nesting, :what, :line)

    # Methods that change a class or module.
    CHANGES = %i[prepend include extend refine class_eval class_exec module_eval module_exec instance_eval instance_exec
                 define_method define_singleton_method alias_method remove_method undef_method attr_reader attr_writer
                 attr_accessor const_set remove_const class_variable_set instance_variable_set private public protected
                 module_function private_class_method public_class_method private_constant].freeze
    # Methods that call another one by its name.
    SENDS = %i[send __send__ public_send].freeze

    # @return [Array<String>] full names
    attr_reader :definitions
    # @return [Array<Use>]
    attr_reader :uses
    # @return [Array<(String, Integer)>] path and line of each `require` and `require_relative`; "./" begins the latter
    attr_reader :requires
    # @return [Array<Change>] also of classes that the file defines itself
    attr_reader :changes

    def initialize(text)
      @definitions = []
      @uses = []
      @requires = []
      @changes = []
      visit(Prism.parse(text).value, [])
    end

    private

    def visit(node, nesting)
      case node
      when Prism::ClassNode, Prism::ModuleNode then visit_module(node, nesting)
      when Prism::SingletonClassNode then visit_singleton(node, nesting)
      when Prism::ConstantWriteNode then define(node.name.to_s, nesting) { visit_children(node, nesting) }
      when Prism::ConstantReadNode, Prism::ConstantPathNode then use(node, nesting)
      when Prism::DefNode then visit_def(node, nesting)
      when Prism::CallNode then visit_call(node, nesting)
      else visit_children(node, nesting)
      end
    end

    def visit_children(node, nesting)
      node.compact_child_nodes.each { |child| visit(child, nesting) }
    end

    def visit_module(node, nesting)
      name = node.constant_path.slice
      # At the top, and after `::`, this opens a global constant.
      change(name, nesting, "class or module", node) if name.start_with?("::") || nesting.empty?
      visit(node.superclass, nesting) if node.is_a?(Prism::ClassNode) && node.superclass
      full = define(name, nesting)
      visit(node.body, [full, *nesting]) if node.body
    end

    def visit_singleton(node, nesting)
      change(node.expression.slice, nesting, "class <<", node) if constant?(node.expression)
      visit_children(node, nesting)
    end

    def visit_def(node, nesting)
      change(node.receiver.slice, nesting, "def", node) if constant?(node.receiver)
      change("::Object", nesting, "def", node) if nesting.empty? && node.receiver.nil?
      visit_children(node, nesting)
    end

    def visit_call(node, nesting)
      require_of(node)
      name = node.name
      name = first_symbol(node) || name if SENDS.include?(name)
      if CHANGES.include?(name)
        changed = name == :refine ? node.arguments&.arguments&.first : class_of(node.receiver)
        change(changed.slice, nesting, name.to_s, node) if constant?(changed)
        change("::Object", nesting, name.to_s, node) if node.receiver.nil? && nesting.empty?
      end
      visit_children(node, nesting)
    end

    # The constant X in `X` and in `X.singleton_class`.
    def class_of(receiver)
      receiver = receiver.receiver while receiver.is_a?(Prism::CallNode) && receiver.name == :singleton_class
      receiver
    end

    def constant?(node)
      node.is_a?(Prism::ConstantReadNode) || node.is_a?(Prism::ConstantPathNode)
    end

    def first_symbol(node)
      first = node.arguments&.arguments&.first
      first.unescaped.to_sym if first.is_a?(Prism::SymbolNode)
    end

    def require_of(node)
      return unless %i[require require_relative].include?(node.name) && node.receiver.nil?

      first = node.arguments.arguments.first
      return unless first.is_a?(Prism::StringNode)

      @requires << [(node.name == :require_relative ? "./" : "") + first.unescaped, node.location.start_line]
    end

    def define(name, nesting)
      full = name.start_with?("::") ? name.delete_prefix("::") : [nesting.first, name].compact.join("::")
      @definitions << full
      yield if block_given?
      full
    end

    def use(node, nesting)
      @uses << Use.new(node.slice, nesting, node.location.start_line)
    end

    def change(name, nesting, what, node)
      @changes << Change.new(name, nesting, what, node.location.start_line)
    end
  end
end
