public import CairnVFS

open class TreeNode: Inode, @unchecked Sendable {}
open class TreeFileSystem: FileSystem, @unchecked Sendable {}
