// What a mount's daemon tells of itself.

import CairnBase
import CairnFUSE
import CairnVFS

extension Composition {
    /// How the kernel is to see the mount: its flags are those of the root.
    var fuseOptions: FUSEMountOptions {
        var options = FUSEMountOptions()
        guard let root = parts.first?.opened else { return options }
        options.allowOther = parts.contains { $0.opened.door.allowOther }
        options.sourceName = root.source == "none" ? root.type : root.source
        options.subtype = "cairn"
        options.flags = root.flags
        return options
    }
}

extension Namespace {
    func attach(_ opened: OpenedFileSystem, at path: FilePath) throws(Failure) {}
}

extension MountService {
    var statistics: JSON { [:] }
}
