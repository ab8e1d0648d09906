# frozen_string_literal: true

# The spec changes this file during requests (rails_examples/reloading.rb).
class Version
  NUMBER = 0
end
