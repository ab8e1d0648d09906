# frozen_string_literal: true

require "uring_io"

# Makes every scheduler and selector of this process with restrict: true. spec_helper.rb requires it when
# URING_IO_SPEC_RESTRICT=1 is set, and so do programs of specs.
module Restricted
  def initialize(*arguments, **options)
    super(*arguments, restrict: true, **options)
  end

  [UringIO::Scheduler, UringIO::Selector].each { |restricted| restricted.prepend(self) }
end
