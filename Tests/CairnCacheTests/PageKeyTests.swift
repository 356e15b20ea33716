// C3: what a block in the pool is known by.

import CairnCache
import Testing

@Suite struct PageKeyTests {
    @Test func pagesOfFilesAndOfContentAreNeverTakenForOneAnother() {
        let index = PageIndex(rawValue: 1)
        let file = PageOwner.inode(fileSystem: 1, number: 2)
        let other = PageOwner.inode(fileSystem: 2, number: 2)
        let content = PageOwner.content(ContentHash((1, 2, 0, 0)))
        let similar = PageOwner.content(ContentHash((1, 2, 0, 1)))
        let keys = [file, other, content, similar].map { PageKey($0, index) }
        #expect(Set(keys).count == 4)
    }
}
