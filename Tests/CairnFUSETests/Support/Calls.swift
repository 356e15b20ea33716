// System calls as tests like them.

import CTestCalls
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

/// readlink(2); nil if it failed.
func linkTarget(_ path: String) -> String? {
    var target = [CChar](repeating: 0, count: 4096)
    let length = readlink(path, &target, target.count)
    guard length >= 0 else { return nil }
    return String(decoding: target[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
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

/// Whether the condition comes true within twenty seconds: for what the kernel does by and by.
func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<4000 {
        if condition() { return true }
        usleep(5000)
    }
    return condition()
}

// The calls below are not in Swift's Glibc; each gives a negative errno where it fails.

/// renameat2(2)
func renameWith(_ flags: UInt32, _ old: String, _ new: String) -> Int32 {
    cairn_test_rename(old, new, flags)
}
