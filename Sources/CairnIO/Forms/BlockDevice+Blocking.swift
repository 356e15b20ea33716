// The blocking form: sleeps on the calling thread. Never on the thread of the reactor that the
// device completes on, which would wait for itself.

import CSystem
public import CairnBase

extension BlockDevice {
    /// Carries out one request. Gives the number of bytes done, which may be less than asked for.
    @discardableResult
    public func perform(_ request: BlockRequest) throws(Errno) -> Int {
        let sleeper = RequestSleeper()
        try submit(request) { sleeper.wake($0) }
        switch sleeper.sleep() {
        case .complete(let bytes), .partial(let bytes): return bytes
        case .failed(let error): throw error
        }
    }

    /// Carries a request to its end, going on after partial results.
    public func performAll(_ request: BlockRequest) throws(Errno) {
        var done = 0
        while true {
            let rest = done == 0 ? request : request.dropping(first: done)
            let bytes = try perform(rest)
            done += bytes
            if done >= request.length { return }
            if bytes <= 0 { throw .EIO }
        }
    }

    /// Fills the memory from the device.
    public func read(
        into memory: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Errno) {
        try performAll(.read(into: memory, at: offset))
    }

    /// Writes all of the memory to the device.
    public func write(_ memory: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        try performAll(.write(memory, at: offset))
    }

    /// Makes durable what was written before.
    public func flush() throws(Errno) {
        try performAll(.flush)
    }

    /// The content of the range is not needed any more.
    public func discard(at offset: UInt64, length: Int) throws(Errno) {
        try performAll(.discard(at: offset, length: length))
    }
}

/// A thread that sleeps until its request is done.
private final class RequestSleeper: @unchecked Sendable {
    // Sendable: `lock` guards `result`.
    private let gate = Gate()
    private let lock = Lock()
    private var result: BlockResult?

    func wake(_ result: BlockResult) {
        lock.withLock { self.result = result }
        gate.signal()
    }

    func sleep() -> BlockResult {
        if let result = lock.withLock({ result }) { return result }
        precondition(cairn_current_loop() == nil, "a reactor's thread would wait for itself")
        gate.wait()
        return lock.withLock { result } ?? .failed(.EIO)
    }
}
