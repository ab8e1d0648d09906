# frozen_string_literal: true

module UringIO
  module Rails
    # With `UringIO.run(inherit: :execution_state)` each fiber begins with a copy of the state that Rails keeps for the
    # fiber that schedules it. It is a copy because fibers run at the same time: a fiber that sets its time zone must
    # not change that of the others, nor that of the request.
    #
    # Some values belong to one caller alone: its execution, its cache, events under way. So the copy has only strings,
    # values that cannot change, and the values that this file names.
    class ExecutionState
      # The keys of arrays and hashes that ActiveRecord's methods with a block, such as `connected_to`, change in place.
      COLLECTIONS = %i[active_record_connected_to_stack active_record_no_touching_classes
                       active_record_suppressor_registry].freeze
      private_constant :COLLECTIONS

      # Copies the state of the calling fiber.
      def initialize
        @values = values
        @current = current
        @context = ::ActiveSupport::ExecutionContext.to_h
        # A new fiber inherits the locale in its fiber storage, but copies it only when it first uses it. By then the
        # caller may have changed it, so we remember it here.
        @locale = ::I18n.locale if defined?(::I18n)
      end

      # Gives the copy to the calling fiber, which must be another one. Call it once only.
      def restore
        @values.each { |key, value| ::ActiveSupport::IsolatedExecutionState[key] = value }
        @current.each { |type, attributes| type.instance.attributes = attributes }
        ::ActiveSupport::ExecutionContext.set(**@context) unless @context.empty?
        ::I18n.locale = @locale if @locale
      end

      private

      def values
        # Where this class is used, Rails keeps the state for each fiber. Rails 7.0 has no other way to read all of it.
        state = ::Fiber.current.active_support_execution_state || {}
        state.filter_map { |key, value| copy(key, value) { |copied| [key, copied] } }
      end

      # Yields the copy of a value. Does not yield for values that belong to one caller alone.
      def copy(key, value)
        if constant?(value) then yield value
        elsif value.is_a?(String) || COLLECTIONS.include?(key) then yield value.dup
        elsif tags?(value) then yield value.class.new.tap { |stack| stack.push_tags(value.tags.dup) }
        end
      end

      # Time zones and modules count as well: they are not frozen, but nobody changes them.
      def constant?(value)
        value.frozen? || value.is_a?(Module) ||
          (defined?(::ActiveSupport::TimeZone) && value.is_a?(::ActiveSupport::TimeZone))
      end

      def tags?(value)
        defined?(::ActiveSupport::TaggedLogging::TagStack) && value.is_a?(::ActiveSupport::TaggedLogging::TagStack)
      end

      # The attributes of each class like Current that has a name: such a class finds its instance by its name.
      def current
        types = ::ActiveSupport::CurrentAttributes.descendants.select(&:name)
        types.to_h { |type| [type, type.instance.attributes.dup] }
      end
    end

    private_constant :ExecutionState
  end
end
