// The plain way: read(2) and write(2) of /dev/fuse.
//
// Each thread reads a request, answers it to the end, and reads the next. What has to wait is
// parked with its memory, and the thread goes on. The loop ends when the kernel lets go of the
// mount (ENODEV).
//
// Threading: a loop belongs to one thread. A reply must go back over the descriptor that the
// request came from.

import CSystem
import CairnBase
import CairnVFS

final class DeviceLoop {
    private let session: Session
    private let descriptor: Int32
    private let crew: DeviceCrew?
    private var crowd = CrowdMeter()
    /// Of the thread that serves always.
    private var served: ServedProgram?
    private let worker = Worker()
    private var memory: RequestMemory
    private let reply: ReplyMemory
    /// Bytes of data that a message brings or takes at most: extended attributes, whose values and
    /// lists have up to 64 KiB, do not keep to the limit for reads and writes.
    private let capacity: Int

    /// Without a crew, this loop calls nobody to help.
    init(session: Session, descriptor: Int32, crew: DeviceCrew? = nil) {
        self.session = session
        self.descriptor = descriptor
        self.crew = crew
        capacity = max(session.options.maximumTransfer, 1 << 16)
        memory = RequestMemory(capacity: capacity)
        reply = ReplyMemory(capacity: capacity)
    }

    /// Serves until the mount is gone, and calls helpers when there is much to do.
    func run() {
        served = session.idlePolling.map { ServedProgram(idlePolling: $0) }
        while step() {
            if crowd.isCrowded { crew?.callHelper() }
        }
        crew?.end()
    }

    /// Serves when called, until there is less to do; ends when the mount is gone.
    func help(_ number: Int) {
        guard let crew else { return }
        while crew.awaitCall(number) {
            crowd = .called
            repeat {
                guard step() else { return crew.end() }
                if crowd.isCrowded { crew.callHelper() }
            } while !crowd.isQuiet || !crew.dismiss(number)
        }
    }

    /// Answers one request; false when there will be no more.
    func step() -> Bool {
        let count = cairn_read(descriptor, memory.bytes.baseAddress, memory.bytes.count)
        if count < 0 {
            // ENOENT: the request was withdrawn. EINTR, EAGAIN: nothing was read.
            switch Errno(rawValue: Int32(-count)) {
            case .EINTR, .EAGAIN, .ENOENT: return true
            default: return false
            }
        }
        guard count > 0 else { return false }
        handle(UnsafeRawBufferPointer(rebasing: memory.bytes[..<Int(count)]))
        return true
    }

    private func handle(_ message: UnsafeRawBufferPointer) {
        let started = monotonicNanoseconds()
        let request: Request
        do throws(Errno) {
            request = try Request.parse(message)
        } catch {
            if let header = Request.header(message) {
                reply.send(.failure(error), to: header.unique, over: descriptor)
            }
            return
        }
        crowd.arrived(started, from: request.process, isBulk: request.isBulk)
        if crew?.isCrowded ?? true {
            served?.leave()
        } else {
            served?.arrived(started, from: request.process)
        }
        var progress = Session.Progress()
        do throws(Pause) {
            let outcome = try session.perform(
                request, into: reply.body, by: worker, &progress)
            reply.send(.success(outcome), to: request.unique, over: descriptor)
            count(request, failed: false, since: started)
        } catch {
            switch error {
            case .failed(let errno):
                reply.send(.failure(errno), to: request.unique, over: descriptor)
                count(request, failed: true, since: started)
            case .wait(let wait):
                let holder = take(request, message)
                ParkedRequest.park(session, holder, progress, on: wait, started: started)
            }
        }
    }

    private func count(_ request: Request, failed: Bool, since started: UInt64) {
        let now = monotonicNanoseconds()
        session.counters.count(
            request.opcode, failed: failed, waited: false, nanoseconds: now &- started)
        crowd.answered(now, isAwaited: !request.opcode.isNotAwaited)
    }

    /// Takes a request out of the loop: a small one is copied, a large one keeps the loop's
    /// memory, and the loop gets new.
    private func take(_ request: Request, _ message: UnsafeRawBufferPointer) -> DeviceMessage {
        let copyLimit = 1 << 16
        guard message.count <= copyLimit else {
            let kept = memory
            memory = RequestMemory(capacity: capacity)
            return DeviceMessage(request, in: kept, descriptor: descriptor)
        }
        let copy = RequestMemory(capacity: message.count)
        UnsafeMutableRawBufferPointer(rebasing: copy.bytes[..<message.count])
            .copyMemory(from: message)
        let bytes = UnsafeRawBufferPointer(rebasing: copy.bytes[..<message.count])
        // The same bytes were parsed before.
        let moved = (try? Request.parse(bytes)) ?? request
        return DeviceMessage(moved, in: copy, descriptor: descriptor)
    }
}
