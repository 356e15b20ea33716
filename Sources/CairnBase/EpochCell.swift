// EpochCell: one reference that is read without a lock and seldom replaced.

public import Synchronization

/// Holds an object. Readers borrow it in an epoch section; the old one is retired when a new one
/// is put in its place.
public final class EpochCell<Object: AnyObject>: @unchecked Sendable {
    // Sendable: one atomic word.
    @usableFromInline let bits: Atomic<UInt>

    public init(_ object: Object) {
        bits = Atomic(Self.word(Unmanaged.passRetained(object)))
    }

    deinit {
        Self.reference(bits.load(ordering: .relaxed)).release()
    }

    @usableFromInline
    static func word(_ reference: Unmanaged<Object>) -> UInt {
        UInt(bitPattern: reference.toOpaque())
    }

    @inlinable @inline(__always)
    static func reference(_ bits: UInt) -> Unmanaged<Object> {
        // The word was made from a reference, so it is not zero.
        Unmanaged.fromOpaque(UnsafeRawPointer(bitPattern: bits).unsafelyUnwrapped)
    }

    /// To be called in an epoch section, which the result is valid in.
    @inlinable @inline(__always)
    public var borrowed: Unmanaged<Object> {
        Self.reference(bits.load(ordering: .sequentiallyConsistent))
    }

    /// A reference of one's own.
    public var value: Object {
        Epoch.section { borrowed.takeUnretainedValue() }
    }

    /// Puts an object in place of the one that was there, which is given back.
    @discardableResult
    public func exchange(_ object: Object) -> Object {
        let new = Self.word(Unmanaged.passRetained(object))
        let old = Self.reference(bits.exchange(new, ordering: .sequentiallyConsistent))
        let result = old.takeUnretainedValue()
        Epoch.retire(Unmanaged<AnyObject>.fromOpaque(old.toOpaque()))
        return result
    }
}
