import CairnBase
enum StoreTree {
    static func open(source: String, type: String?, options: String) throws(Failure) -> any FileTree {
        throw Failure(source, "x")
    }
}
