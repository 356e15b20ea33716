import CairnBase
import CairnFUSE
import CairnVFS
import Glibc
import Testing

@testable import CairnFUSE

@Suite(.serialized, .enabled(if: reasonNotToMount == nil, "mounting needs root and /dev/fuse"))
struct BasicTests {
    @Test func filesAreMadeReadWrittenRenamedAndRemoved() async throws {
        try await withMount { mounted in
            let text = Array("hello, world".utf8)
            let file = open(mounted("a"), O_CREAT | O_RDWR | O_EXCL, 0o640)
            try #require(file >= 0)
            #expect(write(file, text, text.count) == text.count)
            #expect(close(file) == 0)
            var status = stat()
            #expect(stat(mounted("a"), &status) == 0)
            #expect(status.st_size == 12 && status.st_mode & 0o777 == 0o640)
            #expect(rename(mounted("a"), mounted("b")) == 0)
            #expect(stat(mounted("a"), &status) == -1 && errno == ENOENT)
            #expect(contents(mounted("b")) == text)
            #expect(unlink(mounted("b")) == 0)
            #expect(contents(mounted("b")) == nil)
        }
    }
}
