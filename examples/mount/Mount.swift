// A namespace made by a program, mounted for every other program: memory at its root, what the VFS
// knows of itself under /proc.
//
//     mkdir -p /tmp/example && swift run example-mount /tmp/example

import Cairn

@main
struct MountExample {
    static func main() throws {
        guard CommandLine.arguments.count == 2 else {
            print("usage: example-mount MOUNTPOINT")
            return
        }
        let vfs = VFS()
        let namespace = try Namespace(vfs: vfs, root: try RAMFileSystemType.open(in: vfs))
        let process = try Process(in: namespace, name: "example-mount")
        try process.makeDirectory("/proc")
        try process.mount(ProcFileSystem(vfs: vfs, namespace: namespace), at: "/proc")

        let mount = try FUSEMount(
            namespace: namespace, at: CommandLine.arguments[1], options: FUSEMountOptions())
        print("mounted; `umount \(CommandLine.arguments[1])` ends this")

        // Changes by this door are seen by the other at once.
        try process.close(try process.open("/made-by-the-program", [.create, .writeOnly]))

        // Serves on this thread and some of its own, until it is unmounted.
        mount.serve()
        process.exit()
        try namespace.close()
    }
}
