// Threads, chance and recording for tests.

import CairnBase
import Glibc

/// Runs the body on this many threads at once, with their index, and waits for all.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    final class Job {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
    var threads: [pthread_t] = []
    for index in 0..<count {
        var thread = pthread_t()
        let job = Unmanaged.passRetained(Job { body(index) })
        let made = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, job.toOpaque())
        precondition(made == 0, "no thread")
        threads.append(thread)
    }
    for thread in threads {
        pthread_join(thread, nil)
    }
}

/// SplitMix64: repeatable from its seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// The seed of this run: CAIRN_SEED, or a fresh one. Tests put it into their comments.
let runSeed: UInt64 = {
    if let text = getenv("CAIRN_SEED"), let seed = UInt64(String(cString: text)) { return seed }
    return UInt64.random(in: 0 ... .max)
}()

/// What several threads report.
final class Recorder<Item: Sendable>: @unchecked Sendable {
    // Sendable: guarded by `lock`.
    private let lock = Lock()
    private var list: [Item] = []

    func append(_ item: Item) { lock.withLock { list.append(item) } }
    var items: [Item] { lock.withLock { list } }
}
