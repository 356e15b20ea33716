// The text after `-o`: a list of `key` and `key=value`, taken one by one by whoever knows them.

/// Mount options that nobody has taken yet, in the order they were given. Where an option is
/// given twice, the last one counts.
public struct MountOptionList: Sendable {
    private var items: [(key: String, value: String?)] = []

    public init(_ text: String = "") {
        for item in text.split(separator: ",", omittingEmptySubsequences: true) {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            items.append((String(parts[0]), parts.count > 1 ? String(parts[1]) : nil))
        }
    }

    /// Takes a flag, such as `ro`. EINVAL if it came with a value.
    public mutating func takeFlag(_ key: String) throws(MountFailure) -> Bool {
        var found = false
        while let index = items.firstIndex(where: { $0.key == key }) {
            if let value = items[index].value {
                throw MountFailure(.EINVAL, "option \(key)", "takes no value, but has '\(value)'")
            }
            items.remove(at: index)
            found = true
        }
        return found
    }

    /// Takes a value, such as that of `size=1G`. EINVAL if the option came without one.
    public mutating func takeValue(_ key: String) throws(MountFailure) -> String? {
        var found: String?
        while let index = items.firstIndex(where: { $0.key == key }) {
            guard let value = items[index].value, !value.isEmpty else {
                throw MountFailure(.EINVAL, "option \(key)", "needs a value: \(key)=…")
            }
            items.remove(at: index)
            found = value
        }
        return found
    }

    /// Takes a number of bytes: digits with K, M, G or T (powers of 1024).
    public mutating func takeSize(_ key: String) throws(MountFailure) -> UInt64? {
        guard let text = try takeValue(key) else { return nil }
        guard let size = parseSize(text) else {
            throw MountFailure(
                .EINVAL, "option \(key)", "'\(text)' is no size: a number with K, M, G or T")
        }
        return size
    }

    /// Takes the last given of several flags that exclude one another, such as `ro` and `rw`.
    public mutating func takeLast(of keys: [String]) throws(MountFailure) -> String? {
        let last = items.last { keys.contains($0.key) }?.key
        for key in keys {
            _ = try takeFlag(key)
        }
        return last
    }

    /// The first option that nobody took.
    public var firstUnknown: String? { items.first?.key }
}

/// Bytes, from digits with an optional K, M, G or T (powers of 1024, either case).
public func parseSize(_ text: String) -> UInt64? {
    var digits = Substring(text)
    var shift: UInt64 = 0
    if let last = digits.last, let place = "kmgt".firstIndex(of: Character(last.lowercased())) {
        shift = UInt64("kmgt".distance(from: "kmgt".startIndex, to: place) + 1) * 10
        digits = digits.dropLast()
    }
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }),
        let number = UInt64(digits)
    else { return nil }
    let (size, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
    return overflow ? nil : size
}
