// A DeviceMap as a picture (SVG 1.1): one square for so many blocks, row by row from the device's
// start. A square is coloured from the bottom up by what is in it.

import CairnDisk

struct DeviceMapSVG {
    private let map: DeviceMap
    private static let columns = 64
    private static let step = 14
    private static let side = 12
    private static let margin = 20
    private static let headHeight = 92

    init(_ map: DeviceMap) {
        self.map = map
    }

    private static let legend: [(content: DeviceMap.Content, colour: String, name: String)] = [
        (.superblocks, "#7b3294", "superblocks"), (.log, "#e6a817", "log"),
        (.fileNodes, "#c0392b", "tree of files"), (.spaceNodes, "#1b7837", "tree of free space"),
        (.data, "#2166ac", "data"), (.free, "#e8e8e8", "free"),
    ]
    private static let unknownColour = "#000000"

    func text(title: String) -> String {
        let own = DeviceMapSVG.self
        let rows = (map.cells.count + own.columns - 1) / own.columns
        let width = own.columns * own.step + 2 * own.margin
        let height = rows * own.step + own.headHeight + own.margin
        var text = """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(width)" height="\(height)" \
            viewBox="0 0 \(width) \(height)" font-family="sans-serif" font-size="12">
            <title>\(own.escaped(title))</title>
            <rect width="\(width)" height="\(height)" fill="#ffffff"/>

            """
        text += own.line(24, size: 15, title)
        text += own.line(44, size: 12, summary)
        text += legend
        for (index, cell) in map.cells.enumerated() { text += square(index, cell) }
        return text + "</svg>\n"
    }

    private var summary: String {
        let size = map.totalBlocks * map.blockSize
        let free = map.blocks(.free)
        var words = [
            "\(humanSize(size)), \(humanSize(free * map.blockSize)) free in \(map.freeExtents) pieces, "
                + "the longest \(humanSize(map.longestFree * map.blockSize))",
            "\(map.filesWithExtents) files in \(map.extents) extents, \(map.fragments) of them elsewhere",
            "a square is \(humanSize(map.blocksPerCell * map.blockSize))",
        ]
        if map.damagedNodes > 0 { words.append("\(map.damagedNodes) nodes are damaged") }
        return words.joined(separator: "; ")
    }

    private var legend: String {
        var text = ""
        var x = DeviceMapSVG.margin
        for (content, colour, name) in DeviceMapSVG.legend {
            let words = "\(name) \(humanSize(map.blocks(content) * map.blockSize))"
            text += DeviceMapSVG.rectangle(x, 60, DeviceMapSVG.side, DeviceMapSVG.side, colour)
            text += "<text x=\"\(x + 18)\" y=\"71\">\(DeviceMapSVG.escaped(words))</text>\n"
            x += 30 + 7 * words.count
        }
        return text
    }

    private func square(_ index: Int, _ cell: [UInt64]) -> String {
        let own = DeviceMapSVG.self
        let x = own.margin + index % own.columns * own.step
        let y = own.headHeight + index / own.columns * own.step
        let blocks = min(
            map.blocksPerCell, map.totalBlocks - UInt64(index) * map.blocksPerCell)
        // Free below all; what nobody knows of shows black.
        var text = own.rectangle(x, y, own.side, own.side, own.unknownColour)
        var filled: UInt64 = 0
        var bottom = own.side
        for (content, colour, _) in own.legend {
            let count = cell[content.rawValue]
            guard count > 0 else { continue }
            filled = min(filled + count, blocks)
            // What is there at all is seen.
            let height = min(
                max(own.side * Int(filled) / Int(blocks), own.side - bottom + 1), own.side)
            let top = own.side - height
            if bottom > top { text += own.rectangle(x, y + top, own.side, bottom - top, colour) }
            bottom = min(bottom, top)
        }
        return text
    }

    private static func line(_ y: Int, size: Int, _ words: String) -> String {
        "<text x=\"\(margin)\" y=\"\(y)\" font-size=\"\(size)\">\(escaped(words))</text>\n"
    }

    private static func rectangle(
        _ x: Int, _ y: Int, _ width: Int, _ height: Int, _ colour: String
    ) -> String {
        "<rect x=\"\(x)\" y=\"\(y)\" width=\"\(width)\" height=\"\(height)\" fill=\"\(colour)\"/>\n"
    }

    private static func escaped(_ words: String) -> String {
        var text = ""
        for character in words {
            switch character {
            case "&": text += "&amp;"
            case "<": text += "&lt;"
            case ">": text += "&gt;"
            default: text.append(character)
            }
        }
        return text
    }
}
