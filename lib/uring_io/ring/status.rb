# frozen_string_literal: true

module UringIO
  class Ring
    # A file's metadata as statx(2) reports it, with the names of File::Stat.
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

      # @!attribute [r] dev_major
      #   @return [Integer] the major number of the device that the file is on
      # @!attribute [r] dev_minor
      #   @return [Integer] the minor number of that device
      # @!attribute [r] ino
      #   @return [Integer] the file's number on that device
      # @!attribute [r] mode
      #   @return [Integer] the kind and the permissions
      # @!attribute [r] nlink
      #   @return [Integer] how many names (hard links) it has
      # @!attribute [r] uid
      #   @return [Integer] the user ID of its owner
      # @!attribute [r] gid
      #   @return [Integer] the ID of its group
      # @!attribute [r] size
      #   @return [Integer] its length in bytes
      # @!attribute [r] blocks
      #   @return [Integer] how many blocks of 512 bytes it takes
      # @!attribute [r] blksize
      #   @return [Integer] the best number of bytes to read or write at a time
      # Not define_method: other Ractors cannot call a method whose block belongs to the Ractor that loads this file.
      NAMES.each_with_index do |name, index|
        class_eval "def #{name} = @fields[#{index}]", __FILE__, __LINE__ # def size = @fields[7]
      end

      # @!attribute [r] atime
      #   @return [Time] the time of the last access
      # @!attribute [r] mtime
      #   @return [Time] the time of the last change of the content
      # @!attribute [r] ctime
      #   @return [Time] the time of the last change of the status
      # @!attribute [r] birthtime
      #   @return [Time] the time of its creation; 1970 when the file system does not keep it
      TIMES.each_with_index do |name, index|
        place = NAMES.size + (2 * index)
        class_eval "def #{name} = Time.at(*@fields[#{place}, 2], :nanosecond)", __FILE__, __LINE__ # def atime = ...
      end

      # @!method file?
      #   @return [Boolean] whether it is a regular file
      # @!method directory?
      #   @return [Boolean]
      # @!method symlink?
      #   @return [Boolean]
      # @!method pipe?
      #   @return [Boolean] whether it is a pipe or FIFO
      # @!method socket?
      #   @return [Boolean]
      # @!method blockdev?
      #   @return [Boolean]
      # @!method chardev?
      #   @return [Boolean]
      KINDS.each do |name, kind|
        class_eval "def #{name} = mode & 0o170000 == #{kind}", __FILE__, __LINE__ # def file? = mode & 0o170000 == 32768
      end
    end
  end
end
