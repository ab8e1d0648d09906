# frozen_string_literal: true

require "pathname"

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    describe "#rename, #link, #symlink, #mkdir, #unlink and #rmdir", needs: %i[mkdirat symlinkat linkat] do
      it "make, change and remove names" do
        everywhere do |ring|
          from = file_with("x")
          to, link, symlink, directory = Array.new(4) { free_path }
          expect(ring.rename(from, to)).to be_nil
          expect(ring.link(to, link)).to be_nil
          expect(ring.symlink(to, symlink)).to be_nil
          expect(ring.mkdir(directory, 0o700)).to be_nil
          expect([File.exist?(from), File.read(link), File.readlink(symlink)]).to eq([false, "x", to])
          expect(File.stat(directory).mode & 0o777).to eq(0o700)
          [to, link, symlink].each { |path| expect(ring.unlink(path)).to be_nil }
          expect(ring.rmdir(directory)).to be_nil
          expect([to, link, symlink, directory].select { |path| File.symlink?(path) || File.exist?(path) }).to eq([])
        end
      end

      it "take Pathnames" do
        everywhere do |ring|
          path = Pathname(free_path)
          ring.mkdir(path)
          ring.rename(path, moved = Pathname(free_path))
          ring.rmdir(moved)
          expect([path.exist?, moved.exist?]).to eq([false, false])
        end
      end

      it "obey the umask" do
        everywhere do |ring|
          ring.mkdir(ours = free_path)
          Dir.mkdir(rubys = free_path)
          expect(File.stat(ours).mode).to eq(File.stat(rubys).mode)
        end
      end

      it "replace the file of the new name, exchange the two, or refuse" do
        everywhere do |ring|
          one, two = %w[one two].map { |content| file_with(content) }
          expect(raised { ring.rename(one, two, flags: :noreplace) }).to be_a(Errno::EEXIST)
          ring.rename(one, two, flags: :exchange)
          expect([File.read(one), File.read(two)]).to eq(%w[two one])
          ring.rename(one, two)
          expect([File.exist?(one), File.read(two)]).to eq([false, "two"])
        end
      end

      it "leave the target of a symbolic link alone" do
        everywhere do |ring|
          path = file_with("x")
          ring.symlink(path, link = free_path)
          ring.symlink("nowhere", broken = free_path)
          [link, broken].each { |name| ring.unlink(name) }
          expect(File.read(path)).to eq("x")
        end
      end

      it "raise the errors of Ruby's methods" do
        everywhere do |ring|
          path = file_with("x")
          directory = free_path.tap { |name| Dir.mkdir(name) }
          File.write(File.join(directory, "inside"), "")
          missing = free_path
          {
            rename: [[missing, path], [path, "#{path}/below"], [directory, path], [directory, "#{directory}/inside/x"]],
            link: [[missing, free_path], [path, directory]],
            symlink: [[path, path]],
            unlink: [[missing], ["#{path}/below"], [directory]]
          }.each do |name, cases|
            cases.each do |arguments|
              expect_same_errno(-> { ring.public_send(name, *arguments) }, -> { File.public_send(name, *arguments) })
            end
          end
          { mkdir: [[directory], ["#{missing}/below"], ["x" * 300]], rmdir: [[missing], [path], [directory]] }
            .each do |name, cases|
            cases.each do |arguments|
              expect_same_errno(-> { ring.public_send(name, *arguments) }, -> { Dir.public_send(name, *arguments) })
            end
          end
        end
      end

      it "name the system call in their errors" do
        everywhere do |ring|
          missing = free_path
          {
            renameat: -> { ring.rename(missing, free_path) }, linkat: -> { ring.link(missing, free_path) },
            symlinkat: -> { ring.symlink("x", "/") }, unlinkat: -> { ring.unlink(missing) },
            mkdirat: -> { ring.mkdir("/") }, statx: -> { ring.stat(missing) }
          }.each { |name, call| expect(raised(&call).message).to match(/#{name}/) }
        end
      end
    end
  end
end
