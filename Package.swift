// swift-tools-version: 6.1
// The house: one target is one room, and a target imports only what stands below it.
// docs/architecture.md explains the floors.

import PackageDescription

let swift: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableExperimentalFeature("Lifetimes"),
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

/// A floor of Swift code.
func room(_ name: String, on below: [Target.Dependency] = [], path: String? = nil) -> Target {
    .target(name: name, dependencies: below, path: path, swiftSettings: swift)
}

let package = Package(
    name: "Cairn",
    products: [
        .library(name: "Cairn", targets: ["Cairn"]),
        .executable(name: "cairn", targets: ["cairn-command"]),
    ],
    targets: [
        // C: system calls and constants that Swift's Glibc module lacks, and libraries.
        .target(
            name: "CSystem",
            cSettings: [.define("_GNU_SOURCE"), .unsafeFlags(["-O2"])]),
        .systemLibrary(name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),

        // Floor 0
        room("CairnBase", on: ["CSystem"]),
        // Floor 3
        room("CairnVFS", on: ["CairnBase"]),
        // Floor 4
        room("CairnTree", on: ["CairnVFS", "CairnBase"]),
        // Floor 5
        room("CairnRAM", on: ["CairnTree", "CairnVFS", "CairnBase"]),
        room("CairnProc", on: ["CairnVFS", "CairnBase"]),
        // Floor 6
        room("CairnFUSE", on: ["CairnVFS", "CairnBase", "CSystem", "CLiburing"]),
        // What a program that embeds Cairn imports.
        room("Cairn", on: ["CairnFUSE", "CairnProc", "CairnRAM", "CairnTree", "CairnVFS", "CairnBase"]),
        // Floor 7
        .executableTarget(
            name: "cairn-command", dependencies: ["Cairn", "CSystem"],
            swiftSettings: swift),

        // System calls that tests make and Swift cannot import.
        .target(
            name: "CTestCalls", path: "Tests/CTestCalls",
            cSettings: [.define("_GNU_SOURCE")]),
        .testTarget(
            name: "CairnFUSETests",
            dependencies: ["CairnFUSE", "CairnVFS", "CairnBase", "CTestCalls"],
            swiftSettings: swift),

        // Figures beside peers: `make bench`.
        .executableTarget(
            name: "cairn-benchmarks", dependencies: ["Cairn", "CSystem"], path: "Benchmarks",
            swiftSettings: swift),

        .testTarget(
            name: "CairnProcessTests", dependencies: ["Cairn", "CairnBase"],
            swiftSettings: swift),

        // Proof
        room(
            "CairnTestSupport", on: ["CairnRAM", "CairnTree", "CairnVFS", "CairnBase"],
            path: "Tests/CairnTestSupport"),
        .testTarget(
            name: "CairnTreeTests",
            dependencies: ["CairnTestSupport", "CairnRAM", "CairnTree", "CairnVFS", "CairnBase"],
            swiftSettings: swift),
    ]
)
