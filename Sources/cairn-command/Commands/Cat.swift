// cairn cat: writes files to standard output.

import CairnBase

enum CatCommand {
    static let command = Command(
        name: "cat", summary: "writes files to standard output",
        usage: ["FILE…"], operands: .some, options: OpenTrees.options, notes: [OpenTrees.note],
        run: run)

    @Sendable
    private static func run(_ arguments: Arguments) throws(Failure) -> Int32 {
        try OpenTrees.with(arguments, isReading: true) { trees throws(Failure) in
            OpenTrees.each(arguments.operands) { operand throws(Failure) in
                try show(try trees.place(operand))
            }
        }
    }

    private static func show(_ place: Place) throws(Failure) {
        if try place.status(following: true).attributes.isDirectory {
            throw Failure(place.text, Errno.EISDIR)
        }
        try place.attempt { tree, path throws(Errno) in
            let file = try tree.open(path, for: .reading)
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 17, alignment: 4096)
            defer { buffer.deallocate() }
            var offset: UInt64 = 0
            while standardOutput.error == nil {
                let count = try file.read(into: buffer, at: offset)
                if count == 0 { break }
                standardOutput.write(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                offset += UInt64(count)
            }
            try file.close()
        }
    }
}
