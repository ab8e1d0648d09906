# frozen_string_literal: true

require "stringio"
require_relative "support/public_face"

# Compares the reference that `rake doc` makes, as YARD reads it in lib/, with the loaded code.
RSpec.describe "The reference" do
  begin
    require "yard"
  rescue LoadError => error
    it("describes the gem") { skip "the gem yard is missing: #{error.message}" }
    next
  end

  elsewhere = Hooks::LACKING.map { |hook| "UringIO::Scheduler##{hook}" }

  before(:context) do
    @complaints = StringIO.new
    log = YARD::Logger.instance
    usual = log.io
    log.io = @complaints
    YARD::Registry.clear
    YARD.parse(File.expand_path("../lib/**/*.rb", __dir__))
  ensure
    log.io = usual
  end

  after(:context) { YARD::Registry.clear }

  def documented?(path)
    object = YARD::Registry.at(path)
    !object.nil? && !object.docstring.blank?(false)
  end

  # Whether the method has a text of its own, or inherits one.
  def described?(mod, separator, name)
    mod.ancestors.any? { |ancestor| documented?("#{ancestor}#{separator}#{name}") }
  end

  def there?(method)
    type = Object.const_get(method.namespace.path)
    return type.respond_to?(method.name, true) if method.scope == :class

    type.method_defined?(method.name) || type.private_method_defined?(method.name)
  end

  it "has no warnings" do
    expect(@complaints.string).to eq("")
  end

  it "describes no method that does not exist" do
    methods = YARD::Registry.all(:method).select { |method| method.visibility == :public }
    methods.select! { |method| PublicFace.modules.any? { |mod| mod.name == method.namespace.path } }
    expect(methods.size).to be > 150
    expect(methods.reject { |method| there?(method) }.map(&:path) - elsewhere).to eq([])
  end

  # YARD takes the comment that it reads last, so files that only add to a module have none above it.
  it "describes the gem by the text of run.rb, and no module by a mere hint at another file" do
    expect(YARD::Registry.at("UringIO").docstring).to start_with("io_uring for Ruby: a fiber scheduler")
    texts = YARD::Registry.all(:module, :class).map(&:docstring)
    expect(texts.size).to be > 100
    expect(texts.grep(/\ASee \S+\z/)).to eq([])
  end

  PublicFace.modules.each do |mod|
    describe "of #{mod}" do
      it "describes the module itself" do
        expect(documented?(mod.name)).to be(true)
      end

      it "describes every constant" do
        names = PublicFace.constants(mod).map { |name| "#{mod}::#{name}" }
        expect(names.reject { |name| documented?(name) }).to eq([])
      end

      it "describes every method" do
        methods = PublicFace.instance_methods(mod).keys.map { |name| ["#", name] } +
                  PublicFace.singleton_methods(mod).keys.map { |name| [".", name] }
        expect(methods.reject { |method| described?(mod, *method) }.map(&:join)).to eq([])
      end
    end
  end
end
