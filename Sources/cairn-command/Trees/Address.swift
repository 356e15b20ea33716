// Address: what an operand of a file command names.
//
// `PATH` is a file of the host; `SOURCE:/path` is one within a source that is opened without a
// mount, by its type. An operand that exists on the host as a whole is always a path of the host,
// and so is one that begins with `/`, `./` or `../` and has no `:/` in it.

import CairnBase

/// The trees that one call of a command has opened. A source that is named twice is opened once.
final class OpenTrees {
    private let type: String?
    private let options: String
    private let host = HostTree()
    private var opened: [String: any FileTree] = [:]

    /// `-t` and `-o` of the command. What only reads opens its sources read-only.
    init(_ arguments: Arguments, isReading: Bool) {
        type = arguments.value("type")
        options = (arguments.values("options") + (isReading ? ["ro"] : [])).joined(separator: ",")
    }

    /// What the file commands share.
    static let options = [
        CommandOption("t", "type", value: "TYPE", "the type of SOURCE in SOURCE:/path"),
        CommandOption("o", "options", value: "OPT,…", "options that SOURCE is opened with"),
    ]

    static let note = """
        A FILE is a path of the host, below a mount or not, or SOURCE:/path: the path within a
        source (an image, a directory, none) that is opened by its type without a mount.
        """

    func place(_ operand: FilePath) throws(Failure) -> Place {
        guard let (source, path) = OpenTrees.split(operand) else {
            return Place(tree: host, path: operand)
        }
        let isThere = (try? host.status(of: operand, following: false)) != nil
        return isThere
            ? Place(tree: host, path: operand) : Place(tree: try open(source), path: path)
    }

    func places(_ operands: [FilePath]) throws(Failure) -> [Place] {
        var places: [Place] = []
        for operand in operands { places.append(try place(operand)) }
        return places
    }

    /// SOURCE and path, split before the first ":/"; nil: there is none.
    static func split(_ operand: FilePath) -> (source: String, path: FilePath)? {
        let bytes = Array(operand.bytes)
        let colon = bytes.indices.first {
            $0 > 0 && bytes[$0] == UInt8(ascii: ":") && $0 + 1 < bytes.count
                && bytes[$0 + 1] == FilePath.slash
        }
        guard let colon else { return nil }
        return (String(decoding: bytes[..<colon], as: UTF8.self), FilePath(bytes[(colon + 1)...]))
    }

    private func open(_ source: String) throws(Failure) -> any FileTree {
        if let tree = opened[source] { return tree }
        let tree = try StoreTree.open(source: source, type: type, options: options)
        opened[source] = tree
        return tree
    }

    /// Makes everything durable. A failure here is a failure of the command.
    func close() throws(Failure) {
        for (source, tree) in opened {
            do throws(Errno) {
                try tree.close()
            } catch {
                throw Failure(source, error)
            }
        }
        opened = [:]
    }

    /// Runs a command's work on the trees, then closes them, also after a failure.
    static func with(
        _ arguments: Arguments, isReading: Bool = false,
        _ body: (OpenTrees) throws(Failure) -> Int32
    ) throws(Failure) -> Int32 {
        let trees = OpenTrees(arguments, isReading: isReading)
        let status: Int32
        do throws(Failure) {
            status = try body(trees)
        } catch {
            try trees.close()
            throw error
        }
        try trees.close()
        return status
    }

    /// Runs `body` for each, reports what fails and goes on; 0 if nothing failed, otherwise 1.
    static func each<Element>(
        _ elements: [Element], _ body: (Element) throws(Failure) -> Void
    ) -> Int32 {
        var status = ExitStatus.done
        for element in elements {
            do throws(Failure) {
                try body(element)
            } catch {
                report(error)
                status = ExitStatus.failed
            }
        }
        return status
    }
}
