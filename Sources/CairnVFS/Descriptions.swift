// What procfs has to know of mounts and processes beyond what their users need. All of it is in
// memory: nothing here asks a filesystem.

import CairnBase

extension Mount {
    /// The path of what is mounted within its filesystem: "/" unless it is a bind mount. Nil if it
    /// was removed from where it stood.
    public var rootPath: [UInt8]? {
        var parts: [[UInt8]] = []
        var inode = root
        while inode !== fileSystem.root {
            guard let place = inode.place, parts.count < 4096 else { return nil }
            parts.append(place.name.bytes)
            inode = place.parent
        }
        if parts.isEmpty { return [UInt8(ascii: "/")] }
        return parts.reversed().flatMap { [UInt8(ascii: "/")] + $0 }
    }
}

extension Process {
    /// Who holds the POSIX locks that this process takes.
    public var lockOwner: LockOwner { .process(descriptors.identity) }

    /// What is open under a number; nil if nothing is.
    public func openFile(_ descriptor: Descriptor) -> OpenFile? {
        try? descriptors.get(descriptor)
    }
}
