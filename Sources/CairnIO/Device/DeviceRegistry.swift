// DeviceRegistry: open devices by name.
//
// Resolve, retain, release: a name is looked up under the lock and gives a reference; a device that
// is taken out stays usable for those who have it.
//
// Threading: any thread.

public import CairnBase

public final class DeviceRegistry: @unchecked Sendable {
    // Sendable: `lock` guards `devices`.
    private let lock = Lock()
    private var devices: [String: any BlockDevice] = [:]

    public init() {}

    /// Enters a device. Throws EEXIST if the name is taken, EINVAL if it is empty.
    public func add(_ device: any BlockDevice, named name: String) throws(Errno) {
        guard !name.isEmpty else { throw .EINVAL }
        let isNew = lock.withLock {
            if devices[name] != nil { return false }
            devices[name] = device
            return true
        }
        guard isNew else { throw .EEXIST }
    }

    /// The device of that name with these rights. Throws ENODEV.
    public func open(_ name: String, _ rights: DeviceRights = .all) throws(Errno) -> DeviceHandle {
        guard let device = lock.withLock({ devices[name] }) else { throw .ENODEV }
        return device.handle(rights)
    }

    /// Takes the name out and gives what it stood for. Throws ENODEV.
    @discardableResult
    public func remove(_ name: String) throws(Errno) -> any BlockDevice {
        guard let device = lock.withLock({ devices.removeValue(forKey: name) }) else {
            throw .ENODEV
        }
        return device
    }

    /// Sorted.
    public var names: [String] {
        lock.withLock { Array(devices.keys) }.sorted()
    }
}
