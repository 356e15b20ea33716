// The types of filesystem that this command can open, and what its help says of them.

import Cairn
import CairnVFS

let builtInTypes: [any FileSystemType] = [
    HostDiskType { standardError.write("cairn: \($0)\n") }, RAMFileSystemType(),
    ProcFileSystemType(),
]

let typeDescriptions: [String: String] = [
    "mfs_disk":
        "an image or device: compress=none|lz4|zstd[:N] checksums= cow= trim=on|off commit=MS dirty_limit=N cache=N",
    "mfs_ram": "files in memory: size=SIZE nr_inodes=N mode=OCTAL uid=N gid=N",
    "procfs": "what the namespace does: mounts, processes, caches (read-only)",
]
