// Who hears of what is mounted and unmounted in a namespace.

import CairnBase

/// Keeps what it has seen of a namespace, as a kernel does, and must hear when something else
/// stands at a place. Called with no lock held, on the thread that makes the change: must be quick.
public protocol MountObserver: AnyObject, Sendable {
    /// A mount came to cover this place, or went from it. Called after the change.
    func coverChanged(at place: Location)

    /// The mount is to be unmounted: what is kept of it only for later use shall be let go of.
    /// Gives what finishes (without an error) when that has happened; nil: there is nothing to wait
    /// for. What is in use may stay, and then the mount is busy.
    func letGo(of mount: Mount) -> Wait?

    /// The mount was taken from this place, and ends with its last use. Called after the change,
    /// and after `coverChanged`.
    func left(_ mount: Mount, from place: Location)
}

/// The observers of one namespace.
final class MountObservers: @unchecked Sendable {
    // Sendable: `lock` guards the list.
    private let lock = Lock()
    private var observers: [any MountObserver] = []

    func add(_ observer: any MountObserver) {
        lock.withLock { observers.append(observer) }
    }

    func remove(_ observer: any MountObserver) {
        lock.withLock { observers.removeAll { $0 === observer } }
    }

    func tellCoverChanged(at place: Location) {
        for observer in lock.withLock({ observers }) {
            observer.coverChanged(at: place)
        }
    }

    func tell(_ mount: Mount, left place: Location) {
        for observer in lock.withLock({ observers }) {
            observer.left(mount, from: place)
        }
    }

    func askToLetGo(of mount: Mount) -> [Wait] {
        lock.withLock { observers }.compactMap { $0.letGo(of: mount) }
    }
}
