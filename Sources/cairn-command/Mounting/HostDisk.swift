// HostDisk: the device of an image, for commands that work on it without a mount.

import Cairn
import CairnBase
import CairnDisk
import CairnIO
import CairnVFS
import Glibc

enum HostDisk {
    /// Runs a body with the device of an image, and closes it.
    static func with<Value>(
        _ image: FilePath, isReadOnly: Bool, _ body: (FileDevice) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let loop: ReactorThread
        let device: FileDevice
        do throws(Errno) {
            loop = try ReactorThread()
            device = try FileDevice(
                path: image.text,
                options: FileDevice.Options(isReadOnly: isReadOnly, patience: 2000),
                reactor: loop.reactor)
        } catch {
            throw failure(error, image)
        }
        defer {
            device.close()
            loop.stop()
        }
        return try body(device)
    }

    /// Why an image could not be opened.
    static func failure(_ error: Errno, _ image: FilePath) -> Failure {
        switch error {
        case .EBUSY: Failure(printable(image), "it is mounted, or open elsewhere")
        // A directory, a character device: what the system says of them is no help.
        case .EINVAL, .EISDIR: Failure(printable(image), SourceLook(at: image.text).why)
        default: Failure(printable(image), error)
        }
    }
}
