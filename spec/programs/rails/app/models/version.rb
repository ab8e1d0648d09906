# frozen_string_literal: true

# Changes while it is asked (rails_examples/reloading.rb).
class Version
  NUMBER = 0
end
