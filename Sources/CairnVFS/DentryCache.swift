public import CairnBase

public final class DentryCache: Sendable {
    init(limit: Int) {}
    enum Found { case inode(Inode), absent, unknown }
    func find(_ name: Name, in directory: Inode) -> Found { .unknown }
    func insert(_ name: Name, in directory: Inode, _ inode: Inode?, ifStateIs state: UInt64) {}
    func beginChange(of name: Name, in directory: Inode) -> NameChange { NameChange() }
}
struct NameChange {
    mutating func leads(to: Inode?) {}
    mutating func end() {}
}
extension Inode {
    var currentNamesState: UInt64 { 0 }
    func noteFound(in directory: Inode, as name: Name) {}
}
public final class OperationStatistics: Sendable { init() {} }
final class Place {}
final class InodeAttachment {}
enum Event { case create, delete, attributes, modify }
extension VFS {
    func notify(_ event: Event, _ inode: Inode, in directory: Inode? = nil, as name: Name? = nil) {}
    func notifyMove(_ moved: Inode, from: Inode, _ name: Name, to: Inode, _ newName: Name, replaced: Inode?, flags: RenameFlags) {}
}
