// The numbers of the format.

import CairnDisk
import Testing

@Suite struct NumbersTests {
    @Test func runsEndBehindTheirLastBlock() {
        let run = BlockRun(start: BlockNumber(rawValue: 7), count: 3)
        #expect(run.end == BlockNumber(rawValue: 10))
        #expect(run.start < run.end)
    }
}
