// How pages become dirty and clean. No locks: one atomic word each, and marks in the tree.
//
//              markDirty                    beginWriting                 endWriting, flushed
//      clean ─────────────▶ dirty ─────────────────────────▶ writing ───────────────────────▶ clean
//                             ▲                                 │ markDirty
//                             │   endWriting, either way        ▼
//                             └────────────────────────── writing and dirty
//
// No update is lost. Whoever changes bytes marks the page after that, with a read-modify-write; whoever
// writes the page takes the mark, with one too, before it reads the bytes. If the taking came after
// the marking, the writer reads the change. If it came before, the mark stays, and the page is
// written again.

import CairnBase
import Synchronization

extension PagePool {
    /// The frame is pinned by the caller.
    func markDirty(_ frame: Frame) {
        Epoch.section {
            let (before, isChanged) = frame.update { word in
                word.isUsable ? word.adding(.dirty) : nil
            }
            guard isChanged else { return }
            // The section keeps the set, should the page be removed by now.
            let set = PageSet.at(frame.owner)
            set._withUnsafeGuaranteedRef { set in
                if !before.has(.unflushed) { countUnflushed(1, of: set) }
                set.mark(frame.index)
            }
        }
    }

    /// Dirty → being written. False if it is not dirty, or somebody writes it already. The frame is
    /// pinned by the caller, and stays so until `endWriting`.
    func beginWriting(_ frame: Frame) -> Bool {
        frame.update { word in
            guard word.isUsable, word.has(.dirty), !word.has([.writing, .filling]) else {
                return nil
            }
            return word.removing(.dirty).adding(.writing)
        }.isChanged
    }

    func endWriting(_ frame: Frame, isFlushed: Bool) {
        let isAwaited = Epoch.section {
            let (before, _) = frame.update { word in
                let rest = word.removing([.writing, .awaited])
                return isFlushed || word.has(.orphan) ? rest : rest.adding(.dirty)
            }
            if before.isUsable, isFlushed, !before.has(.dirty) {
                PageSet.at(frame.owner)._withUnsafeGuaranteedRef { countUnflushed(-1, of: $0) }
            }
            return before.has(.awaited)
        }
        if isAwaited { wakeWriteWaiters(of: frames.number(of: frame)) }
        count(isFlushed ? .flushes : .failedFlushes)
    }

    /// Dirty → clean: nothing of it has to be written any more. The page is pinned by the caller, and
    /// nobody writes it.
    func forgetChanges(_ frame: Frame) {
        Epoch.section {
            let (_, isChanged) = frame.update { word in
                word.isUsable && word.has(.dirty) && !word.has(.writing)
                    ? word.removing(.dirty) : nil
            }
            guard isChanged else { return }
            PageSet.at(frame.owner)._withUnsafeGuaranteedRef { countUnflushed(-1, of: $0) }
        }
    }

    func countUnflushed(_ change: Int, of set: PageSet) {
        set.unflushedCount.add(change, ordering: .relaxed)
        unflushedCount.add(change, ordering: .relaxed)
    }

    // MARK: Waiting for the end of a write

    /// A wait for the end of this page's writing. Nil if it is not being written.
    func writeWait(for number: FrameNumber) -> Wait? {
        waitLock.withLock {
            let (_, isWriting) = frames[number].update { word in
                word.has(.writing) ? word.adding(.awaited) : nil
            }
            guard isWriting else { return nil }
            let wait = Wait()
            writeWaiters[number, default: []].append(wait)
            return wait
        }
    }

    private func wakeWriteWaiters(of number: FrameNumber) {
        guard let waiting = waitLock.withLock({ writeWaiters.removeValue(forKey: number) }) else {
            return
        }
        perform {
            for wait in waiting { wait.finish() }
        }
    }
}
