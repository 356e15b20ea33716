// UnsyncedChange: what a call has changed and makes durable before it returns.
//
// On a mount with `-o sync` that is every change; elsewhere, what is done to a file that has the flag
// S (chattr(1), FS_SYNC_FL), and to the names in a directory that has it. As ext4 does.
//
// The change is made by one attempt, and must not be made again by those that follow while it becomes
// durable: whoever drives the call keeps this from one to the next. If it cannot be made durable the
// call fails, and the change is there all the same, as with fsync.
//
// A value, of one call.

public import CairnBase

public struct UnsyncedChange: Sendable {
    /// What is left.
    private var inodes: [Inode]
    /// Of the last of them.
    private var point = SyncPoint()

    /// Nothing has to be durable.
    public static var none: UnsyncedChange { UnsyncedChange([]) }

    private init(_ inodes: [Inode]) {
        self.inodes = inodes
    }

    /// A change of this, or of the names in it.
    public init(of place: Location) {
        inodes = place.isSynchronous ? [place.inode] : []
    }

    /// A change of the names in two directories, which may be one.
    public init(of source: Location, and target: Location) {
        guard source.isSynchronous || target.isSynchronous else {
            inodes = []
            return
        }
        inodes = source.inode === target.inode ? [source.inode] : [target.inode, source.inode]
    }

    public var isDurable: Bool { inodes.isEmpty }

    /// An attempt: waits until what is left is durable.
    public mutating func makeDurable() throws(Pause) {
        while let inode = inodes.last {
            try inode.sync(dataOnly: false, &point)
            inodes.removeLast()
            point = SyncPoint()
        }
    }
}

extension Location {
    /// Whether changes of this, or of the names in it, are durable before they are answered.
    public var isSynchronous: Bool {
        mount.flags.contains(.synchronous) || inode.isSynchronous.load(ordering: .relaxed)
    }
}
