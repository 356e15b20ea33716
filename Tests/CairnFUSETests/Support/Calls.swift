// System calls as tests like them.

import Glibc

/// The bytes of a file; nil if it cannot be opened or read.
func contents(_ path: String) -> [UInt8]? {
    let file = open(path, O_RDONLY)
    guard file >= 0 else { return nil }
    defer { close(file) }
    return contents(of: file)
}

func contents(of file: Int32) -> [UInt8]? {
    var result: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = read(file, &chunk, chunk.count)
        if count < 0 { return nil }
        if count == 0 { return result }
        result += chunk[..<count]
    }
}

/// Writes a file anew; false if that failed.
@discardableResult
func put(_ path: String, _ bytes: [UInt8], mode: mode_t = 0o644) -> Bool {
    let file = open(path, O_CREAT | O_TRUNC | O_WRONLY, mode)
    guard file >= 0 else { return false }
    defer { close(file) }
    return write(file, bytes, bytes.count) == bytes.count
}

func put(_ path: String, _ text: String) -> Bool { put(path, Array(text.utf8)) }

/// stat(2); nil if it failed.
func status(_ path: String) -> stat? {
    var result = stat()
    return stat(path, &result) == 0 ? result : nil
}

/// The names in a directory, sorted, without "." and "..".
func names(_ path: String) -> [String]? {
    guard let directory = opendir(path) else { return nil }
    defer { closedir(directory) }
    var found: [String] = []
    while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { found.append(name) }
    }
    return found.sorted()
}
