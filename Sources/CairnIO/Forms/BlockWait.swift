// BlockWait: a request that an attempt waits for (`throw Pause.wait(…)`).
//
// It carries the request to its end, and keeps what the memory belongs to until the device is done
// with it: also when it was finished early because nobody wants it any more.
//
// Threading: as Wait, any thread.

public import CairnBase

open class BlockWait: Wait, @unchecked Sendable {
    // Sendable: `lock` guards the fields below it; `owner` is set once.
    private let lock = Lock()
    /// While it is under way: it and this keep each other.
    private var transfer: BlockTransfer?
    private var isDone = false
    private var isGivenUp = false
    /// What the request's memory belongs to.
    public let owner: AnyObject?

    /// A wait that is not started. `owner` is kept as long as this is, and until the device is done.
    public init(keeping owner: AnyObject?) {
        self.owner = owner
    }

    /// A wait for this request, which is under way. If it cannot even be submitted, the wait has
    /// finished with that error.
    public static func starting(
        _ request: BlockRequest, on device: any BlockDevice, keeping owner: AnyObject?
    ) -> BlockWait {
        let wait = BlockWait(keeping: owner)
        wait.start(request, on: device)
        return wait
    }

    /// Starts the request. To be called once.
    public final func start(_ request: BlockRequest, on device: any BlockDevice) {
        do throws(Errno) {
            let started = try BlockTransfer(request, on: device) { [self] error in
                lock.withLock {
                    isDone = true
                    transfer = nil
                }
                completed(error)
                finish(error)
            }
            let cancelNow = lock.withLock {
                if !isDone { transfer = started }
                return isGivenUp
            }
            if cancelNow { started.cancel() }
        } catch {
            completed(error)
            finish(error)
        }
    }

    /// Hook: the device is done with the memory. Called once, before what waits is.
    open func completed(_ error: Errno?) {}

    open override func abandoned() {
        let started = lock.withLock {
            isGivenUp = true
            return transfer
        }
        started?.cancel()
    }
}
