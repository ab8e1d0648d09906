# frozen_string_literal: true

require "open3"
require "rbconfig"
require_relative "support/public_face"
require_relative "support/signatures"

# Compares the signatures in sig/ with the loaded code. The gem rbs is a bundled gem of Ruby, unless somebody has left
# it out.
RSpec.describe "The signatures in sig/" do
  missing = begin
    require "rbs"
    nil
  rescue LoadError => error
    "the gem rbs is missing: #{error.message}"
  end

  elsewhere = { "UringIO::Scheduler" => Hooks::LACKING }

  shape_of = lambda do |method|
    kinds = method.parameters.group_by(&:first)
    names = ->(kind) { kinds.fetch(kind, []).map(&:last) }
    least = names[:req].size
    Signatures::Shape.new(least..(least + names[:opt].size unless kinds.key?(:rest)), names[:keyreq].sort,
                          (names[:keyreq] + names[:key]).sort, kinds.key?(:keyrest) || method.parameters == [[:rest]])
  end

  if missing
    it("agree with the gem") { skip missing }
    next
  end

  faces = Signatures.new.faces
  modules = PublicFace.modules
  loaded = { instance: PublicFace.method(:instance_methods), singleton: PublicFace.method(:singleton_methods) }
  method_of = lambda do |mod, kind, name|
    kind == :instance ? mod.instance_method(name) : mod.method(name)
  rescue NameError
    nil
  end

  it "are valid" do
    program = "RBS::CLI.new(stdout: $stdout, stderr: $stderr).run(%w[-I #{Signatures::FOLDER} -r socket validate])"
    output, status = Open3.capture2e(RbConfig.ruby, "-W0", "-r", "rbs", "-r", "rbs/cli", "-e", program)
    expect(status).to be_success, output
  end

  it "name every module, and no other" do
    expect(faces.keys).to match_array(modules.map(&:name))
  end

  modules.each do |mod|
    describe "of #{mod}" do
      let(:face) { faces.fetch(mod.name) }

      it "have every constant, and no other" do
        expect(face.constants).to match_array(PublicFace.constants(mod))
      end

      loaded.each do |kind, methods|
        it "have all #{kind} methods, and no others" do
          expect(methods.call(mod).keys - face[kind].keys).to eq([])
          invented = face[kind].keys.reject { |name| method_of.call(mod, kind, name) }
          expect(invented - elsewhere.fetch(mod.name, [])).to eq([])
        end

        it "declare the arguments that the #{kind} methods take" do
          face[kind].each do |name, overloads|
            method = method_of.call(mod, kind, name) or next
            takes = shape_of.call(method)
            said = Signatures.shape(overloads)
            counts = [takes.positionals, said.positionals]
            fits = takes.positionals.end ? counts.uniq.one? : takes.positionals.cover?(said.positionals)
            expect(fits).to be(true), "#{name} takes #{counts.first} arguments, not #{counts.last}"
            next if takes.open

            expect([name, said.required, said.keywords]).to eq([name, takes.required, takes.keywords])
          end
        end
      end
    end
  end

  # Methods in Rust that count their arguments themselves tell Ruby nothing about them.
  describe "of methods in Rust" do
    too_many_or_few = lambda do |overloads|
      count = Signatures.shape(overloads).positionals
      [*(count.begin - 1 if count.begin.positive?), *(count.end + 1 if count.end)]
    end

    [UringIO::Scheduler, UringIO::Selector].each do |type|
      it "declare how many arguments the methods of #{type} take" do
        object = type == UringIO::Selector ? type.new(Fiber.current, backend: :poll) : type.new(backend: :poll)
        native = PublicFace.instance_methods(type).select { |_, method| method.parameters == [[:rest]] }
        native.except(:initialize, :fiber).each_key do |name|
          too_many_or_few.call(faces.fetch(type.name).instance.fetch(name)).each do |count|
            given = [Fiber.current] * count
            expect { object.public_send(name, *given) }.to raise_error(ArgumentError), "#{name} takes #{count}"
          end
        end
      ensure
        object&.close
      end
    end

    { UringIO::Scheduler => [], UringIO::Selector => [Fiber.current], UringIO::Ring => [] }.each do |type, arguments|
      it "declare which keywords #{type}.new takes" do
        keywords = Signatures.shape(faces.fetch(type.name).instance.fetch(:initialize)).keywords
        keywords.each do |name|
          expect { type.new(*arguments, backend: :poll, name => Object.new, no_such: 1) }
            .to raise_error(ArgumentError, /unknown keyword: :no_such\z/)
        end
      end
    end
  end
end
