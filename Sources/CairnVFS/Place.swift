// Place: where a directory was last found, for `..` and for paths shown to people.
//
// A directory has one name, so the last lookup or rename that led to it is where it stands. The
// chain of places leads up to the root and keeps the directories above in memory. A file has a
// place only where somebody watches: those who watch its directory are told the name.

import CairnBase

final class Place: @unchecked Sendable {
    // Sendable: `parentStorage` changes only when nobody else has this object.
    private var parentStorage: Inode?
    let name: FileName

    init(parent: Inode, name: FileName) {
        self.parentStorage = parent
        self.name = name
    }

    var parent: Inode {
        guard let parentStorage else { preconditionFailure("a place that was taken apart") }
        return parentStorage
    }

    /// Releases a chain of places and the directories that only they keep, one after the other:
    /// each would release the next in its deinit, and a deep tree would need a deep stack.
    static func release(_ last: consuming Place?) {
        var place = last
        while place != nil, isKnownUniquelyReferenced(&place) {
            var directory = place?.parentStorage
            place?.parentStorage = nil
            guard isKnownUniquelyReferenced(&directory) else { return }
            place = directory?.placeStorage
            directory?.placeStorage = nil
        }
    }

    func stands(in directory: Inode, as name: Name) -> Bool {
        parent === directory
            && self.name.bytes.withUnsafeBytes { equalBytes($0, name.bytes) }
    }
}

extension Inode {
    /// Where this was last found; nil for a root, and where nobody noted it.
    var place: Place? { stateLock.withLock { placeStorage } }

    /// A lookup, a creation or a rename led here.
    func noteFound(in directory: Inode, as name: Name) {
        guard isDirectory || isWatched else { return }
        let old: Place? = stateLock.withLock {
            if let place = placeStorage, place.stands(in: directory, as: name) { return nil }
            let old = placeStorage
            placeStorage = Place(parent: directory, name: name.owned)
            return old
        }
        // Released outside the lock: it may be the last reference to a chain of directories.
        _ = old
    }

    /// The name of a file is gone: what happens to the file from now on is not told under it. (A
    /// directory that was removed keeps its place: whoever is in it can still go up.)
    func forgetPlace(in directory: Inode, as name: Name) {
        guard !isDirectory else { return }
        let old: Place? = stateLock.withLock {
            guard let place = placeStorage, place.stands(in: directory, as: name) else {
                return nil
            }
            placeStorage = nil
            return place
        }
        _ = old
    }
}
