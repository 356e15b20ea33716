// File locks that other doors shall see too.
//
// As a rule the kernel keeps locks itself: right among all who use the mount, and without a
// request. Only where locks are shared with other doors (`sharesLocks`) does it send them here.

import CairnBase
import CairnVFS

extension Session {
    func lock(_ request: Request, _ reply: ReplyBuffer) throws(Pause) -> Outcome {
        .notImplemented
    }

    func releaseRecordLocks(_ request: Request) throws(Pause) {}

    func releaseWholeFileLock(_ request: Request) throws(Pause) {}
}
