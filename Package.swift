// swift-tools-version: 6.1
// The house: one target is one room, and a target imports only what stands below it.
// docs/architecture.md explains the floors.

import PackageDescription

let swift: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableExperimentalFeature("Lifetimes"),
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

/// A room of Swift code.
func room(_ name: String, on below: [Target.Dependency] = [], path: String? = nil) -> Target {
    .target(name: name, dependencies: below, path: path, swiftSettings: swift)
}

/// A room with a door to the street: a program.
func program(_ name: String, on below: [Target.Dependency], path: String? = nil) -> Target {
    .executableTarget(name: name, dependencies: below, path: path, swiftSettings: swift)
}

/// C code of our own.
func shim(_ name: String, path: String? = nil) -> Target {
    .target(
        name: name, path: path, cSettings: [.define("_GNU_SOURCE"), .unsafeFlags(["-O2"])])
}

/// Tests of one room.
func proof(_ name: String, of rooms: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: rooms + ["CairnTestPace"], swiftSettings: swift)
}

let package = Package(
    name: "Cairn",
    products: [
        .library(name: "Cairn", targets: ["Cairn"]),
        .executable(name: "cairn", targets: ["cairn-command"]),
    ],
    targets: [
        // System calls and constants that Swift's Glibc module lacks, and libraries.
        shim("CSystem"),
        shim("CHost"),
        .systemLibrary(
            name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
        .systemLibrary(name: "CLz4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),

        // Floor 0
        room("CairnBase", on: ["CSystem"]),
        // Floor 1
        room("CairnIO", on: ["CairnBase", "CSystem", "CLiburing"]),
        // Floor 2
        room("CairnCache", on: ["CairnIO", "CairnBase", "CSystem"]),
        // Floor 3
        room("CairnVFS", on: ["CairnBase"]),
        // Floor 4
        room("CairnTree", on: ["CairnVFS", "CairnBase"]),
        // Floor 5
        room("CairnRAM", on: ["CairnTree", "CairnVFS", "CairnBase", "CSystem"]),
        room(
            "CairnDisk",
            on: [
                "CairnTree", "CairnVFS", "CairnCache", "CairnIO", "CairnBase", "CSystem", "CLz4",
                "CZstd",
            ]),
        room("CairnProc", on: ["CairnVFS", "CairnBase"]),
        // Floor 6
        room("CairnFUSE", on: ["CairnVFS", "CairnBase", "CSystem", "CLiburing"]),
        // What a program that embeds Cairn imports.
        room(
            "Cairn",
            on: [
                "CairnFUSE", "CairnProc", "CairnDisk", "CairnRAM", "CairnTree", "CairnVFS",
                "CairnIO",
                "CairnBase",
            ]),
        // Floor 7
        program(
            "cairn-command",
            on: ["Cairn", "CairnDisk", "CairnIO", "CSystem", "CHost"]),
        // Figures beside peers: `make bench`.
        program(
            "cairn-benchmarks",
            on: [
                "Cairn", "CairnDisk", "CairnPlainFiles", "CairnCache", "CairnIO", "CairnBase",
                "CSystem",
            ], path: "Benchmarks"),

        // Programs to learn from.
        program("example-embed", on: ["Cairn"], path: "examples/embed"),
        program("example-filesystem", on: ["Cairn"], path: "examples/filesystem"),
        program("example-mount", on: ["Cairn"], path: "examples/mount"),

        // Proof
        shim("CTestCalls", path: "Tests/CTestCalls"),
        // Making system calls fail.
        room("CairnTestCalls", on: ["CairnBase", "CTestCalls"], path: "Tests/CairnTestCalls"),
        // How often long tests repeat themselves; all tests may use it.
        room("CairnTestPace", on: [], path: "Tests/CairnTestPace"),
        room(
            "CairnTestSupport",
            on: [
                "CairnDisk", "CairnRAM", "CairnTree", "CairnVFS", "CairnCache", "CairnIO",
                "CairnBase",
            ],
            path: "Tests/CairnTestSupport"),
        proof("CairnBaseTests", of: ["CairnBase", "CSystem"]),
        proof(
            "CairnIOTests",
            of: [
                "CairnIO", "CairnBase", "CairnTestSupport", "CairnTestCalls", "CTestCalls",
                "CLiburing",
            ]),
        // Files of fixed extents through the page cache: its test bench.
        room(
            "CairnPlainFiles", on: ["CairnCache", "CairnIO", "CairnBase"],
            path: "Tests/CairnPlainFiles"),
        program(
            "cairn-cache-soak",
            on: ["CairnPlainFiles", "CairnCache", "CairnIO", "CairnBase", "CSystem"],
            path: "Tests/CacheSoak"),
        proof(
            "CairnCacheTests",
            of: ["CairnCache", "CairnPlainFiles", "CairnIO", "CairnBase", "CairnTestSupport"]),
        proof(
            "CairnDiskTests",
            of: [
                "CairnDisk", "CairnTestSupport", "CairnTree", "CairnVFS", "CairnCache", "CairnIO",
                "CairnBase",
            ]),
        proof("CairnVFSTests", of: ["CairnVFS", "CairnBase"]),
        proof("CairnProcTests", of: ["CairnProc", "CairnRAM", "CairnVFS", "CairnBase"]),
        proof("CairnProcessTests", of: ["Cairn", "CairnBase"]),
        proof(
            "CairnTreeTests",
            of: ["CairnTestSupport", "CairnRAM", "CairnTree", "CairnVFS", "CairnBase"]),
        proof(
            "CairnFUSETests",
            of: ["CairnFUSE", "CairnVFS", "CairnBase", "CSystem", "CairnTestCalls", "CTestCalls"]),
        proof("CairnCommandTests", of: ["cairn-command"]),
    ]
)
