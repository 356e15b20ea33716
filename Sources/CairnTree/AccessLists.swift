// AccessLists: the ACLs of a node, parsed, and the names under which they are stored.
//
// They are stored as the extended attributes system.posix_acl_access and _default. A minimal
// access list, which says no more than the mode, is never stored.

import CairnBase
import CairnVFS

/// Immutable; replaced as a whole.
final class AccessLists: Sendable {
    let access: AccessControlList?
    let `default`: AccessControlList?

    /// Nil if there is neither.
    static func of(
        access: AccessControlList?, default inherited: AccessControlList?
    ) -> AccessLists? {
        access == nil && inherited == nil ? nil : AccessLists(access: access, default: inherited)
    }

    init(access: AccessControlList?, default inherited: AccessControlList?) {
        self.access = access
        self.default = inherited
    }

    subscript(kind: AccessControlList.Kind) -> AccessControlList? {
        kind == .access ? access : self.default
    }
}

/// Names of extended attributes that the rules know.
enum AttributeNames {
    static let access = permanent("system.posix_acl_access")
    static let `default` = permanent("system.posix_acl_default")

    static func of(_ kind: AccessControlList.Kind) -> Name {
        kind == .access ? access : `default`
    }

    /// Lives as long as the process, as a borrowed name in a constant must.
    private static func permanent(_ text: StaticString) -> Name {
        Name(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    static func hasPrefix(_ name: Name, _ prefix: StaticString) -> Bool {
        let count = prefix.utf8CodeUnitCount
        return name.count >= count
            && equalBytes(
                UnsafeRawBufferPointer(rebasing: name.bytes[..<count]),
                UnsafeRawBufferPointer(start: prefix.utf8Start, count: count))
    }
}

/// Lends the bytes of two arrays to a call.
func withBytes<Value>(
    of first: [UInt8], _ second: [UInt8],
    _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(Pause) -> Value
) throws(Pause) -> Value {
    var result: Result<Value, Pause>?
    first.withUnsafeBytes { first in
        second.withUnsafeBytes { second in
            do throws(Pause) {
                result = .success(try body(first, second))
            } catch {
                result = .failure(error)
            }
        }
    }
    guard let result else { preconditionFailure("withUnsafeBytes calls its body") }
    return try result.get()
}
