// EpochCell: one reference that is read without a lock and seldom replaced.

public import Synchronization

/// Holds an object. Readers borrow it in an epoch section; the old one is retired when a new one
/// is put in its place.
public final class EpochCell<Object: AnyObject>: @unchecked Sendable {
    // Sendable: one atomic word, in memory of its own.
    private let word: UnsafeMutablePointer<Atomic<UInt>>

    public init(_ object: Object) {
        word = .allocate(capacity: 1)
        word.initialize(to: Atomic(Self.bits(of: object)))
    }

    deinit {
        reader.borrowed.release()
        word.deinitialize(count: 1)
        word.deallocate()
    }

    /// The object, as bits that hold a reference.
    private static func bits(of object: Object) -> UInt {
        UInt(bitPattern: Unmanaged.passRetained(object).toOpaque())
    }

    /// What reading takes: one address, so that a reader counts no references, not even on the cell.
    /// Valid while the cell lives.
    public struct Reader: @unchecked Sendable {
        // Sendable: the word is atomic.
        @usableFromInline let word: UnsafeMutablePointer<Atomic<UInt>>

        @usableFromInline
        init(word: UnsafeMutablePointer<Atomic<UInt>>) {
            self.word = word
        }

        /// To be called in an epoch section, which the result is valid in.
        @inlinable @inline(__always)
        public var borrowed: Unmanaged<Object> {
            let bits = word.pointee.load(ordering: .sequentiallyConsistent)
            // The word was made from a reference, so it is not zero.
            return .fromOpaque(UnsafeRawPointer(bitPattern: bits).unsafelyUnwrapped)
        }
    }

    public var reader: Reader { Reader(word: word) }

    /// A reference of one's own.
    public var value: Object {
        Epoch.section { reader.borrowed.takeUnretainedValue() }
    }

    /// Puts an object in place of the one that was there, which is given back.
    @discardableResult
    public func exchange(_ object: Object) -> Object {
        let old = word.pointee.exchange(Self.bits(of: object), ordering: .sequentiallyConsistent)
        let reference = Unmanaged<Object>.fromOpaque(
            UnsafeRawPointer(bitPattern: old).unsafelyUnwrapped)
        let result = reference.takeUnretainedValue()
        Epoch.retire(Unmanaged<AnyObject>.fromOpaque(reference.toOpaque()))
        return result
    }
}
