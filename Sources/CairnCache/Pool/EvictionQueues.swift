// EvictionQueues: in which order frames are given up (S3-FIFO; docs/adr/006-eviction.md).
//
// New pages enter a small queue, a tenth of the frames. What was used again by the time it comes
// out at the end goes on to the main queue; the rest is evicted, and its key is remembered for a
// while. A page that comes back while it is remembered enters the main queue at once. At the end
// of the main queue a page that was used goes round again, for each use once, three times at most.
// So a scan, whose pages are used once, passes through the small queue and leaves the main one
// alone.
//
// Source: Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction",
// SOSP 2023.
//
// Frames that are held, dirty, filled or written are taken out of their queue when they come to
// its end, and wait outside (`parked`) until they come back: so none is looked at in vain.
//
// Threading: all under the pool's lock, but for what a Frame says is atomic.

import CairnBase
import Glibc

struct EvictionQueues: ~Copyable {
    /// A list through the frames' links.
    private struct Queue {
        var newest = Frame.none
        var oldest = Frame.none
        var count = 0

        mutating func push(_ number: FrameNumber, _ frames: FrameTable) {
            let frame = frames[number]
            frame.newer = Frame.none
            frame.older = newest
            if newest != Frame.none { frames[newest].newer = number }
            newest = number
            if oldest == Frame.none { oldest = number }
            count += 1
        }

        mutating func remove(_ number: FrameNumber, _ frames: FrameTable) {
            let frame = frames[number]
            if frame.newer == Frame.none {
                newest = frame.older
            } else {
                frames[frame.newer].older = frame.older
            }
            if frame.older == Frame.none {
                oldest = frame.newer
            } else {
                frames[frame.older].newer = frame.newer
            }
            count -= 1
        }
    }

    static var small: UInt8 { 0 }
    static var main: UInt8 { 1 }

    private let frames: FrameTable
    private var queues = (small: Queue(), main: Queue())
    private var ghosts: GhostKeys
    /// Frames that the small queue may have before it is the one to evict from.
    private var smallShare = 1

    /// Uses that a page in the small queue needs to go on: the one that it was fetched for, and one more.
    private static var usesToStay: UInt8 { 2 }

    /// Nil: no memory.
    init?(frames: FrameTable) {
        self.frames = frames
        guard let ghosts = GhostKeys(capacity: frames.count) else { return nil }
        self.ghosts = ghosts
    }

    /// How many frames there may be now.
    mutating func setFrameLimit(_ limit: Int) {
        smallShare = max(1, limit / 10)
        ghosts.lifetime = max(1, limit - smallShare)
    }

    /// Frames that stand in a queue.
    var count: Int { queues.small.count + queues.main.count }

    // MARK: Coming and going

    /// Enters a frame with a new page. `keyHash` stands for the page's key. True: it was remembered.
    mutating func insert(_ number: FrameNumber, keyHash: UInt64) -> Bool {
        let isKnown = ghosts.contains(keyHash)
        link(number, into: isKnown ? Self.main : Self.small)
        return isKnown
    }

    /// Enters a frame again that was parked.
    mutating func putBack(_ number: FrameNumber) {
        link(number, into: frames[number].queue)
    }

    mutating func remove(_ number: FrameNumber) {
        if frames[number].isLinked { unlink(number) }
    }

    // MARK: Evicting

    /// Takes the page out that shall go next: the frame is not live any more, and in no queue. Nil:
    /// all are busy. `keyHash` is asked for the frame's key.
    mutating func evict(keyHash: (Frame) -> UInt64) -> FrameNumber? {
        while true {
            let fromSmall = queues.small.count >= smallShare || queues.main.count == 0
            let number = fromSmall ? queues.small.oldest : queues.main.oldest
            guard number != Frame.none else { return nil }
            let frame = frames[number]
            let uses = frame.frequency
            if fromSmall, uses >= Self.usesToStay {
                unlink(number)
                frame.frequency = 0
                link(number, into: Self.main)
                continue
            }
            if !fromSmall, uses > 0 {
                frame.frequency = uses - 1
                unlink(number)
                link(number, into: Self.main)
                continue
            }
            unlink(number)
            if take(frame) {
                if fromSmall { ghosts.insert(keyHash(frame)) }
                return number
            }
        }
    }

    /// Makes the frame free, or parks it if it is busy.
    private func take(_ frame: Frame) -> Bool {
        let (before, _) = frame.update { word in
            if word.pins > 0 || word.has(.busy) { return word.adding(.parked) }
            return word.removing(.live)
        }
        return before.pins == 0 && !before.has(.busy)
    }

    // MARK: Lists

    private mutating func link(_ number: FrameNumber, into queue: UInt8) {
        frames[number].queue = queue
        frames[number].isLinked = true
        if queue == Self.small {
            queues.small.push(number, frames)
        } else {
            queues.main.push(number, frames)
        }
    }

    private mutating func unlink(_ number: FrameNumber) {
        frames[number].isLinked = false
        if frames[number].queue == Self.small {
            queues.small.remove(number, frames)
        } else {
            queues.main.remove(number, frames)
        }
    }
}

/// Keys of pages that were evicted lately, as hashes: it may forget one, or take one for another.
private struct GhostKeys: ~Copyable {
    /// Each place: the upper half of a key's hash │ when it was entered.
    private let places: UnsafeMutablePointer<UInt64>
    private let mask: Int
    private var now: UInt32 = 1
    /// So many later ones make a key forgotten.
    var lifetime = 1

    init?(capacity: Int) {
        var count = 64
        while count < capacity * 2 { count *= 2 }
        guard let memory = calloc(count, MemoryLayout<UInt64>.stride) else { return nil }
        places = memory.assumingMemoryBound(to: UInt64.self)
        mask = count - 1
    }

    deinit { free(places) }

    mutating func insert(_ hash: UInt64) {
        now &+= 1
        places[Int(truncatingIfNeeded: hash) & mask] = hash & ~0xFFFF_FFFF | UInt64(now)
    }

    func contains(_ hash: UInt64) -> Bool {
        let place = places[Int(truncatingIfNeeded: hash) & mask]
        guard place != 0, place & ~0xFFFF_FFFF == hash & ~0xFFFF_FFFF else { return false }
        return now &- UInt32(truncatingIfNeeded: place) < UInt32(clamping: lifetime)
    }
}
