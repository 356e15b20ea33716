// FaultPlan: what shall go wrong on a FaultyDevice.
//
// A value. Rates are parts of one: 0 never, 1 always.

public import CairnBase

public struct FaultPlan: Sendable {
    /// The n-th request fails.
    public struct Failure: Sendable {
        /// Nil: of all kinds together.
        public var operation: BlockRequest.Operation?
        /// Which one, from 1, counted since the plan was set.
        public var number: Int
        public var error: Errno
        /// All that come after it fail too: the device is gone.
        public var isForEver: Bool
        /// `submit` throws, instead of the request completing with the error.
        public var isAtSubmission: Bool

        public init(
            operation: BlockRequest.Operation? = nil, number: Int, error: Errno = .EIO,
            isForEver: Bool = false, isAtSubmission: Bool = false
        ) {
            self.operation = operation
            self.number = number
            self.error = error
            self.isForEver = isForEver
            self.isAtSubmission = isAtSubmission
        }
    }

    /// How often requests of one kind complete with EIO, having done nothing.
    public struct ErrorRates: Sendable {
        public var read = 0.0
        public var write = 0.0
        public var flush = 0.0
        public var discard = 0.0

        public init() {}

        func rate(of operation: BlockRequest.Operation) -> Double {
            switch operation {
            case .read: read
            case .write: write
            case .flush: flush
            case .discard: discard
            }
        }
    }

    public var failures: [Failure] = []
    public var errorRates = ErrorRates()
    /// `submit` throws EAGAIN.
    public var refusalRate = 0.0
    /// Reads and writes of several blocks do only some of them, and say so.
    public var partialRate = 0.0
    /// A write that fails has written some of its blocks.
    public var failedWritesTear = false
    // What a device does without saying so:
    /// Only the first blocks of a write arrive.
    public var tornWriteRate = 0.0
    /// A write arrives somewhere else.
    public var misdirectedWriteRate = 0.0
    /// A write does not arrive.
    public var lostWriteRate = 0.0
    /// A flush is not passed on.
    public var lostFlushRate = 0.0
    /// How long a request waits before it is passed on, in nanoseconds.
    public var latencyNanoseconds: ClosedRange<UInt64> = 0...0

    public init() {}

    /// Nothing but this.
    public init(failing failure: Failure) {
        failures = [failure]
    }
}

/// What went wrong, and how often.
public struct FaultCounts: Equatable, Sendable {
    public var errors = 0
    public var refusals = 0
    public var partials = 0
    public var tornWrites = 0
    public var misdirectedWrites = 0
    public var lostWrites = 0
    public var lostFlushes = 0

    public init() {}

    public var total: Int {
        errors + refusals + partials + tornWrites + misdirectedWrites + lostWrites + lostFlushes
    }
}
