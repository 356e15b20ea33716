// ImageCheck: the face of this room: `check` looks, `mend` looks, writes, and looks again.
//
// Threading: one thread at a time; it waits for the device.

public import CairnBase
public import CairnIO

public struct ImageCheck {
    private let device: any BlockDevice
    private let options: CheckOptions
    private let progress: (CheckProgress) -> Void

    /// How often mending looks and writes at most: what one time mends may show what is below.
    private static let rounds = 3

    public init(
        _ device: any BlockDevice, _ options: CheckOptions = CheckOptions(),
        progress: @escaping (CheckProgress) -> Void = { _ in }
    ) {
        self.device = device
        self.options = options
        self.progress = progress
    }

    /// Looks, and changes nothing. `hear` is told of each finding.
    public func check(
        _ hear: @escaping (CheckFinding) -> Void
    ) throws(CheckFailure) -> CheckSummary {
        try look(hear).context.summary
    }

    private func look(_ hear: @escaping (CheckFinding) -> Void) throws(CheckFailure) -> DiskCheck {
        let check = try DiskCheck(device, options, progress: progress, hear: hear)
        try check.run()
        return check
    }

    /// Whether something is in the log, that a mount would carry out.
    public func hasLog() throws(CheckFailure) -> Bool {
        try DiskCheck(device, options, progress: { _ in }, hear: { _ in }).log.entries > 0
    }

    /// Looks, writes what is to be mended, and looks again. The device is written to only if
    /// something is wrong that mending helps against.
    public func mend(
        time: any TimeSource, _ hear: @escaping (CheckFinding) -> Void
    ) throws(CheckFailure) -> CheckSummary {
        let first = try look(hear)
        var result = first.context.summary
        guard result.findings > result.hopeless else {
            result.left = result.findings
            return result
        }
        let unknown = first.superblock.features.readOnlyCompatible
        guard unknown == 0 else {
            throw CheckFailure(
                "the image",
                "has features \(String(unknown, radix: 16)): newer software is needed to mend it")
        }
        try first.tellOfLostWrites()
        result = first.context.summary
        var current = first
        for _ in 0..<ImageCheck.rounds {
            try DiskRepair(current, time: time).run()
            result.isMended = true
            current = try look { _ in }
            let left = current.context.summary
            result.left = left.findings
            if left.findings == left.hopeless { break }
        }
        return result
    }
}
