// cairn mkfs: makes a filesystem in an image or on a block device.

import Cairn
import CairnDisk
import Glibc

enum MakeFileSystemCommand {
    static let command = Command(
        name: "mkfs", summary: "makes a filesystem in an image",
        usage: ["[--size SIZE] [--block-size N] [--label LABEL] [--force] IMAGE"],
        operands: .some,
        options: [
            CommandOption(nil, "size", value: "SIZE", "makes a file of this size, sparse"),
            CommandOption(nil, "block-size", value: "N", "bytes: 4096, 8192 or 16384"),
            CommandOption(nil, "label", value: "LABEL", "at most 64 bytes"),
            CommandOption(nil, "force", "also over a filesystem that is there"),
        ],
        notes: ["Without --size, IMAGE is there already: a file, or a block device."], run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        guard arguments.operands.count == 1, let image = arguments.operands.first else {
            throw .usage("IMAGE", "one is made at a time")
        }
        var chosen = FormatOptions()
        if let text = arguments.value("block-size") {
            guard let size = UInt32(text) else {
                throw .usage("option --block-size", "'\(text)' is no number")
            }
            chosen.blockSize = size
        }
        if let label = arguments.value("label") { chosen.label = label }
        chosen.rootUser = getuid()
        chosen.rootGroup = getgid()
        var size: UInt64?
        if let text = arguments.value("size") {
            guard let bytes = parseSize(text) else {
                throw .usage("option --size", "'\(text)' is no size: a number with K, M, G or T")
            }
            size = bytes
        }
        let isThere = access(image.text, F_OK) == 0
        if isThere, !arguments.has("force") {
            let wayOut = "--force makes a new one in its place"
            switch SourceLook(at: image.text) {
            case .disk:
                throw Failure(printable(image), "there is a filesystem on it", wayOut: wayOut)
            case .foreign(let name):
                throw Failure(printable(image), "it holds \(name)", wayOut: wayOut)
            case .nothing: break
            }
        }
        if isThere, size != nil {
            throw Failure(
                printable(image), "it is there already",
                wayOut: "without --size the whole of it is used")
        }
        do throws(VolumeFailure) {
            try HostDiskType.make(image.text, size: size, options: chosen)
        } catch {
            guard error.what == image.text else {
                throw Failure("\(printable(image)): \(error.what)", error.why)
            }
            throw HostDisk.failure(error.errno, image)
        }
        return ExitStatus.done
    }
}
