# frozen_string_literal: true

module UringIO
  class Ring
    # What statx(2) tells of a file, in the words of File::Stat.
    class Status
      NAMES = %i[dev_major dev_minor ino mode nlink uid gid size blocks blksize].freeze
      TIMES = %i[atime mtime ctime birthtime].freeze
      KINDS = { file?: 0o100000, directory?: 0o040000, symlink?: 0o120000, pipe?: 0o010000, socket?: 0o140000,
                blockdev?: 0o060000, chardev?: 0o020000 }.freeze
      private_constant :NAMES, :TIMES, :KINDS

      # @api private
      def initialize(fields)
        @fields = fields
      end

      # @!attribute [r] size
      #   @return [Integer] bytes; dev_major, dev_minor, ino, mode, nlink, uid, gid, blocks and blksize as in File::Stat
      # Not define_method: its blocks would be of the Ractor that loads this.
      NAMES.each_with_index do |name, index|
        class_eval "def #{name} = @fields[#{index}]", __FILE__, __LINE__ # def size = @fields[7]
      end

      # @!attribute [r] mtime
      #   @return [Time] likewise atime, ctime and birthtime
      TIMES.each_with_index do |name, index|
        place = NAMES.size + (2 * index)
        class_eval "def #{name} = Time.at(*@fields[#{place}, 2], :nanosecond)", __FILE__, __LINE__ # def atime = ...
      end

      # @!method file?
      #   @return [Boolean] likewise directory?, symlink?, pipe?, socket?, blockdev? and chardev?
      KINDS.each do |name, kind|
        class_eval "def #{name} = mode & 0o170000 == #{kind}", __FILE__, __LINE__ # def file? = mode & 0o170000 == 32768
      end
    end
  end
end
