// The filesystems that the session hears changes of: those of its namespace, also such as are
// mounted into it later (they are met when a lookup first crosses into them).
//
// Threading: one lock, around the list.

import CairnBase
import CairnVFS

final class ObservedFileSystems: @unchecked Sendable {
    // Sendable: `lock` guards the list.
    private let lock = Lock()
    private var fileSystems: [FileSystem] = []
    private var isClosed = false
    private let observer: any ChangeObserver

    init(observer: any ChangeObserver) {
        self.observer = observer
    }

    func addAll(of namespace: Namespace) {
        for mount in namespace.mounts {
            add(mount.fileSystem)
        }
    }

    func add(_ fileSystem: FileSystem) {
        let isNew: Bool = lock.withLock {
            guard !isClosed, !fileSystems.contains(where: { $0 === fileSystem }) else {
                return false
            }
            fileSystems.append(fileSystem)
            return true
        }
        if isNew { fileSystem.addObserver(observer) }
    }

    /// It is closed: nothing there changes any more.
    func remove(_ fileSystem: FileSystem) {
        lock.withLock { fileSystems.removeAll { $0 === fileSystem } }
        fileSystem.removeObserver(observer)
    }

    func removeAll() {
        let all: [FileSystem] = lock.withLock {
            isClosed = true
            defer { fileSystems = [] }
            return fileSystems
        }
        for fileSystem in all {
            fileSystem.removeObserver(observer)
        }
    }
}
