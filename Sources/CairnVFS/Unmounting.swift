// Unmounting: one unmount from the first look to the closed filesystem (umount2(2)).
//
//     observers let go, what is in flight fails (force) ─▶ leave the namespace ─▶ close
//
// Until it leaves the namespace it can fail, and the mount stays as it was. From then on it goes
// on by itself, whoever waits for it.
//
// Threading: used by one driver.

import CairnBase

/// An attempt to be run to its end by a driver (Wait.swift).
final class Unmounting {
    private let namespace: Namespace
    private let mount: Mount
    private let lazily: Bool
    private let force: Bool
    private var hasBegun = false
    private var isAborting = false
    private var hasLeft = false
    /// What has to finish before the mount can leave.
    private var releases: [Wait] = []

    init(_ mount: Mount, in namespace: Namespace, lazily: Bool, force: Bool) {
        self.mount = mount
        self.namespace = namespace
        self.lazily = lazily
        self.force = force
    }

    deinit {
        stopAborting()
    }

    /// The mount stays: what comes is served again.
    private func stopAborting() {
        if isAborting { mount.endAbort() }
        isAborting = false
    }

    /// EINVAL for what is not mounted here, EBUSY while it is used.
    func attempt() throws(Pause) {
        if hasLeft { return }
        if !hasBegun { try begin() }
        if let wait = releases.popLast() { throw .wait(wait) }
        let closed: Wait?
        do throws(Errno) {
            closed = try namespace.takeOut(mount, lazily: lazily)
        } catch {
            stopAborting()
            throw .failed(error)
        }
        hasLeft = true
        isAborting = false
        if let closed { throw .wait(closed) }
    }

    private func begin() throws(Pause) {
        guard namespace.canUnmount(mount) else { throw .failed(.EINVAL) }
        hasBegun = true
        // What leaves lazily is let go of after it has left.
        if !lazily, mount.isHeld { releases = namespace.observers.askToLetGo(of: mount) }
        if force {
            isAborting = true
            mount.abort()
        }
    }
}
