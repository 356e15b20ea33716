// DeviceLog: what was written to a device, flushed and discarded, and what a cut of the power makes
// of it.
//
// A write or discard is *settled* once a flush has completed that was submitted after it had
// completed: it survives. All others that were submitted before the cut are *open*: each survives
// whole, in part, or not at all, whatever the others do. So a state after a cut is: the device's
// first content, the settled ones, and any choice among the open ones, in the order in which they
// were submitted.
//
// A value.

public struct DeviceLog: Sendable {
    /// A request, in the order of submission.
    public struct Entry: Sendable {
        public let operation: BlockRequest.Operation
        public let offset: UInt64
        public let length: Int
        /// What a write wrote.
        public let bytes: [UInt8]
        /// When it was submitted, and when it completed (nil: not yet). Each such event is a moment:
        /// 1, 2, 3 …
        public let submitted: Int
        public internal(set) var completed: Int?
        var outcome = Outcome.underWay

        /// A partial request as two: what is done, and what is not known.
        var parts: [Entry] {
            guard case .partial(let count) = outcome else { return [self] }
            return [part(0..<count, .done), part(count..<length, .unsure)]
        }

        private func part(_ range: Range<Int>, _ outcome: Outcome) -> Entry {
            Entry(
                operation: operation, offset: offset + UInt64(range.lowerBound),
                length: range.count, bytes: bytes.isEmpty ? [] : Array(bytes[range]),
                submitted: submitted, completed: completed, outcome: outcome)
        }
    }

    enum Outcome: Equatable, Sendable {
        case underWay, done
        /// So many bytes are done.
        case partial(Int)
        /// It failed: what it changed is not known.
        case unsure
        /// It was never started.
        case refused
    }

    /// How much of an open request survives a cut.
    public enum Survival: Sendable {
        case all, nothing
        /// The first so many bytes.
        case first(Int)
        /// The blocks of 512 bytes for which it gives true.
        case sectors(@Sendable (Int) -> Bool)
    }

    /// Without those that were refused.
    public let entries: [Entry]
    /// The number of moments: 0 … this can be given to `cut`.
    public let moments: Int

    init(entries: [Entry], moments: Int) {
        self.entries = entries.flatMap { $0.outcome == .refused ? [] : $0.parts }
        self.moments = moments
    }

    /// As if only these requests had been made: what a program that leaves out a flush, say, would have
    /// done.
    public func filtered(_ isKept: (Entry) -> Bool) -> DeviceLog {
        DeviceLog(entries: entries.filter(isKept), moments: moments)
    }

    /// What is settled and what is open if the power is cut right after that moment.
    public struct Cut: Sendable {
        public var settled: [Entry] = []
        public var open: [Entry] = []
    }

    public func cut(at moment: Int) -> Cut {
        var lastFlush = 0
        for entry in entries where entry.operation == .flush && entry.outcome == .done {
            if let completed = entry.completed, completed <= moment {
                lastFlush = max(lastFlush, entry.submitted)
            }
        }
        var cut = Cut()
        for entry in entries where entry.operation != .flush && entry.submitted <= moment {
            if entry.outcome == .done, let completed = entry.completed, completed < lastFlush {
                cut.settled.append(entry)
            } else {
                cut.open.append(entry)
            }
        }
        return cut
    }

    /// Applies the first so many requests, in the order of submission, to a device that holds what
    /// the recorded one held at first.
    public func replay(first count: Int, onto device: MemoryDevice) {
        for entry in entries.prefix(count) { entry.apply(to: device, .all) }
    }
}

extension DeviceLog.Cut {
    /// Makes of a device that holds what the recorded one held at first what it may hold after the
    /// cut. `survival` says it for each open request, by its place in `open`.
    public func replay(
        onto device: MemoryDevice, _ survival: (Int, DeviceLog.Entry) -> DeviceLog.Survival
    ) {
        var all = settled.map { ($0, DeviceLog.Survival.all) }
        for (index, entry) in open.enumerated() {
            all.append((entry, survival(index, entry)))
        }
        all.sort { $0.0.submitted < $1.0.submitted }
        for (entry, survival) in all { entry.apply(to: device, survival) }
    }
}

extension DeviceLog.Entry {
    /// Does to a device what this request did, or a part of it.
    public func apply(to device: MemoryDevice, _ survival: DeviceLog.Survival) {
        guard operation == .write || operation == .discard else { return }
        let contents = device.contents
        precondition(
            offset <= UInt64(contents.count) && length <= contents.count - Int(offset),
            "the device is smaller than the one that was recorded")
        let place = UnsafeMutableRawBufferPointer(
            rebasing: contents[Int(offset)..<Int(offset) + length])
        func copy(_ range: Range<Int>) {
            guard !range.isEmpty else { return }
            let part = UnsafeMutableRawBufferPointer(rebasing: place[range])
            guard operation == .write else {
                part.initializeMemory(as: UInt8.self, repeating: 0)
                return
            }
            bytes.withUnsafeBytes {
                part.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[range]))
            }
        }
        switch survival {
        case .nothing: break
        case .all: copy(0..<length)
        case .first(let count): copy(0..<min(max(count, 0), length))
        case .sectors(let survives):
            for start in stride(from: 0, to: length, by: 512) where survives(start / 512) {
                copy(start..<min(start + 512, length))
            }
        }
    }
}
