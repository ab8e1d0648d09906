# frozen_string_literal: true

require_relative "watch"

module UringIO
  module NIO
    # An IO in a selector, with its interest and its readiness, like NIO::Monitor. Selector#register makes it.
    class Monitor
      # @return [IO, #to_io] the object that the program registered
      attr_reader :io
      # @return [Selector, nil] nil once the monitor is closed
      attr_reader :selector
      # @return [Object] an object that the program keeps with the IO
      attr_accessor :value

      # @param io [IO, #to_io]
      # @param interests [Symbol] :r, :w or :rw
      # @param selector [Selector]
      # @api private
      def initialize(io, interests, selector)
        raise TypeError, "wrong argument type #{interests.class} (expected Symbol)" unless interests.is_a?(Symbol)

        events = Watch::EVENTS[interests] or
          raise ArgumentError, "invalid event type #{interests.inspect} (must be :r, :w, or :rw)"
        @io = io
        @selector = selector
        @watch = Watch.new(io, events, self, selector.poller)
      end

      # @return [Symbol, nil] the events that the selector waits for: :r, :w, :rw, or nil for none
      def interests
        Watch::NAMES[@watch.interest]
      end

      # Sets the events that the selector waits for, from the next Selector#select on.
      # @param interests [Symbol, nil] :r, :w, :rw, or nil for none
      # @raise [EOFError] when the monitor is closed
      def interests=(interests)
        check_open
        set(interests.nil? ? 0 : events_of(interests))
      end

      # Adds events to those that the selector waits for.
      # @param interest [Symbol] :r, :w or :rw
      # @return [Symbol] the events that the selector waits for now
      # @raise [EOFError] when the monitor is closed
      def add_interest(interest)
        check_open
        set(@watch.interest | events_of(interest))
      end

      # Removes events from those that the selector waits for.
      # @param interest [Symbol] :r, :w or :rw
      # @return [Symbol, nil] the events that the selector waits for now
      # @raise [EOFError] when the monitor is closed
      def remove_interest(interest)
        check_open
        set(@watch.interest & ~events_of(interest))
      end

      # @return [Symbol, nil] the events that were there when #select last returned or yielded this monitor: :r, :w, :rw
      def readiness
        Watch::NAMES[@watch.readiness]
      end

      # @return [Boolean] whether #readiness has :r
      def readable?
        (@watch.readiness & IO::READABLE).positive?
      end

      # @return [Boolean] whether #readiness has :w
      def writable?
        (@watch.readiness & IO::WRITABLE).positive?
      end
      alias writeable? writable?

      # Ends the monitor. Repeatable.
      # @param deregister [Boolean] whether the selector forgets the IO, too
      # @return [nil]
      def close(deregister = true) # rubocop:disable Style/OptionalBooleanParameter
        selector = @selector or return
        deregister ? selector.deregister(@io) : leave
        nil
      end

      # @return [Boolean]
      def closed?
        @selector.nil?
      end

      # @return [String]
      def inspect
        "#<#{self.class} #{@io.inspect} #{closed? ? 'closed' : interests.inspect}>"
      end

      # @return [Watch]
      # @api private
      attr_reader :watch

      private

      def check_open
        raise EOFError, "monitor is closed" if closed?
      end

      def events_of(interest)
        raise TypeError, "wrong argument type #{interest.class} (expected Symbol)" unless interest.is_a?(Symbol)

        Watch::EVENTS[interest] or
          raise ArgumentError, "invalid interest type #{interest.inspect} (must be :r, :w, or :rw)"
      end

      def set(events)
        @watch.interest = events
        @selector&.changed(@watch)
        Watch::NAMES[events]
      end

      def leave
        @watch.end
        @selector = nil
      end
    end
  end
end
