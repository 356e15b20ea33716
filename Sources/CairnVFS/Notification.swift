// Notification: what a watcher of files is told (requirement V14; inotify(7)).
//
//     VFS operation ─▶ notify ─▶ watches of the inode and of its directory ─▶ NotificationQueue
//
// The kinds of event, their bits, their order and what is told to whom are inotify's. The queue
// is in NotificationQueue.swift, the way from an operation to it in VFS+Notification.swift.

public import CairnBase

/// Kinds of event, as asked for and as told, and how a watch behaves. The bits are inotify's.
public struct WatchEvents: OptionSet, Hashable, Sendable {
    public var rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// IN_ACCESS: data was read.
    @inlinable public static var access: WatchEvents { WatchEvents(rawValue: 0x1) }
    /// IN_MODIFY: data was written, or the size was set.
    @inlinable public static var modify: WatchEvents { WatchEvents(rawValue: 0x2) }
    /// IN_ATTRIB: mode, owner, times, extended attributes or the number of links changed.
    @inlinable public static var attributes: WatchEvents { WatchEvents(rawValue: 0x4) }
    /// IN_CLOSE_WRITE: what was open for writing was closed.
    @inlinable public static var closeWrite: WatchEvents { WatchEvents(rawValue: 0x8) }
    /// IN_CLOSE_NOWRITE
    @inlinable public static var closeNoWrite: WatchEvents { WatchEvents(rawValue: 0x10) }
    /// IN_OPEN
    @inlinable public static var open: WatchEvents { WatchEvents(rawValue: 0x20) }
    /// IN_MOVED_FROM: a name left the directory. Pairs with `movedTo` by the cookie.
    @inlinable public static var movedFrom: WatchEvents { WatchEvents(rawValue: 0x40) }
    /// IN_MOVED_TO: a name came into the directory.
    @inlinable public static var movedTo: WatchEvents { WatchEvents(rawValue: 0x80) }
    /// IN_CREATE: a name was made in the directory.
    @inlinable public static var create: WatchEvents { WatchEvents(rawValue: 0x100) }
    /// IN_DELETE: a name was removed from the directory.
    @inlinable public static var delete: WatchEvents { WatchEvents(rawValue: 0x200) }
    /// IN_DELETE_SELF: the file lost its last name and its last user.
    @inlinable public static var deleteSelf: WatchEvents { WatchEvents(rawValue: 0x400) }
    /// IN_MOVE_SELF: the file got another name.
    @inlinable public static var moveSelf: WatchEvents { WatchEvents(rawValue: 0x800) }
    /// IN_ALL_EVENTS
    @inlinable public static var all: WatchEvents { WatchEvents(rawValue: 0xFFF) }

    // Told without being asked for.

    /// IN_UNMOUNT: the filesystem was closed.
    @inlinable public static var unmount: WatchEvents { WatchEvents(rawValue: 0x2000) }
    /// IN_Q_OVERFLOW: events were lost here, because the queue was full.
    @inlinable public static var overflow: WatchEvents { WatchEvents(rawValue: 0x4000) }
    /// IN_IGNORED: the watch is gone; nothing more comes from it.
    @inlinable public static var ignored: WatchEvents { WatchEvents(rawValue: 0x8000) }
    /// IN_ISDIR: what it is about is a directory.
    @inlinable public static var isDirectory: WatchEvents { WatchEvents(rawValue: 0x4000_0000) }

    // How a watch behaves.

    /// IN_ONLYDIR: ENOTDIR if it is no directory.
    @inlinable public static var onlyDirectory: WatchEvents { WatchEvents(rawValue: 0x100_0000) }
    /// IN_MASK_CREATE: EEXIST if the queue watches it already.
    @inlinable public static var mustBeNew: WatchEvents { WatchEvents(rawValue: 0x1000_0000) }
    /// IN_MASK_ADD: in addition to what is watched already, not instead.
    @inlinable public static var addToExisting: WatchEvents { WatchEvents(rawValue: 0x2000_0000) }
    /// IN_ONESHOT: one event, and the watch is gone.
    @inlinable public static var once: WatchEvents { WatchEvents(rawValue: 0x8000_0000) }
}

/// One watch in a queue. Not used again while the queue lives.
public struct WatchDescriptor: RawRepresentable, Hashable, Sendable {
    public let rawValue: Int32
    @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }
    /// The queue itself speaks (overflow).
    @inlinable public static var queue: WatchDescriptor { WatchDescriptor(rawValue: -1) }
}

/// One event.
public struct Notification: Hashable, Sendable {
    public var watch: WatchDescriptor
    /// One kind, perhaps with `isDirectory`.
    public var events: WatchEvents
    /// The same for both halves of a move, and for no other; 0 for what is no move.
    public var cookie: UInt32
    /// The entry of the watched directory that it is about; nil if it is the watched file itself.
    public var name: FileName?

    @inlinable
    public init(
        watch: WatchDescriptor, events: WatchEvents, cookie: UInt32 = 0, name: FileName? = nil
    ) {
        self.watch = watch
        self.events = events
        self.cookie = cookie
        self.name = name
    }

    /// Bytes that it takes as struct inotify_event: the name is padded with NULs to 16.
    var encodedSize: Int { 16 + encodedNameSize }
    private var encodedNameSize: Int {
        guard let name else { return 0 }
        return (name.bytes.count + 1 + 15) & ~15
    }

    /// As struct inotify_event. The buffer holds at least `encodedSize`.
    func encode(into buffer: UnsafeMutableRawBufferPointer) {
        buffer.storeBytes(of: watch.rawValue, toByteOffset: 0, as: Int32.self)
        buffer.storeBytes(of: events.rawValue, toByteOffset: 4, as: UInt32.self)
        buffer.storeBytes(of: cookie, toByteOffset: 8, as: UInt32.self)
        buffer.storeBytes(of: UInt32(encodedNameSize), toByteOffset: 12, as: UInt32.self)
        guard let name else { return }
        for index in 0..<encodedNameSize {
            buffer[16 + index] = index < name.bytes.count ? name.bytes[index] : 0
        }
    }
}
