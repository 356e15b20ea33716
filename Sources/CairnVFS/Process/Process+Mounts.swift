// Attempts: mount, bind, move, umount.

import CairnBase

extension Process {
    private func requireAdministrator() throws(Pause) {
        guard credentials.has(.administer) else { throw .failed(.EPERM) }
    }

    private func place(_ path: UnsafeRawBufferPointer) throws(Pause) -> Location {
        try walk(path, at: .workingDirectory, .follow) { (walk) throws(Pause) in
            walk.place.retained
        }
    }

    func act<Value>(_ body: () throws(Errno) -> Value) throws(Pause) -> Value {
        do throws(Errno) {
            return try body()
        } catch {
            throw .failed(error)
        }
    }

    func attemptMount(
        _ fileSystem: FileSystem, at path: UnsafeRawBufferPointer, source: String,
        _ flags: MountFlags
    ) throws(Pause) {
        try requireAdministrator()
        let place = try place(path)
        try act { () throws(Errno) in
            _ = try namespace.mount(fileSystem, at: place, source: source, flags: flags)
        }
    }

    func attemptBind(
        _ origin: UnsafeRawBufferPointer, at path: UnsafeRawBufferPointer, _ flags: MountFlags?
    ) throws(Pause) {
        try requireAdministrator()
        let shown = try place(origin)
        let place = try place(path)
        try act { () throws(Errno) in _ = try namespace.bind(shown, at: place, flags: flags) }
    }

    func attemptMoveMount(
        _ origin: UnsafeRawBufferPointer, to path: UnsafeRawBufferPointer
    ) throws(Pause) {
        try requireAdministrator()
        let from = try place(origin)
        guard from.inode === from.mount.root else { throw .failed(.EINVAL) }
        let place = try place(path)
        try act { () throws(Errno) in try namespace.move(from.mount, to: place) }
    }

    func attemptUnmount(
        _ path: UnsafeRawBufferPointer, lazily: Bool, force: Bool,
        _ unmounting: inout Unmounting?
    ) throws(Pause) {
        if let unmounting { return try unmounting.attempt() }
        try requireAdministrator()
        let place = try place(path)
        guard place.inode === place.mount.root else { throw .failed(.EINVAL) }
        let new = Unmounting(place.mount, in: namespace, lazily: lazily, force: force)
        unmounting = new
        try new.attempt()
    }
}
