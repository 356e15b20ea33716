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

/// The tests of a room.
func proof(_ name: String, of rooms: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: rooms, swiftSettings: swift)
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
        .target(name: "CHost", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(
            name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),

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
        room(
            "Cairn",
            on: ["CairnFUSE", "CairnProc", "CairnRAM", "CairnTree", "CairnVFS", "CairnBase"]),
        // Floor 7
        .executableTarget(
            name: "cairn-command", dependencies: ["Cairn", "CSystem", "CHost"],
            swiftSettings: swift),
        .testTarget(
            name: "CairnCommandTests", dependencies: ["cairn-command"], swiftSettings: swift),

        // Figures beside peers: `make bench`.
        .executableTarget(
            name: "cairn-benchmarks", dependencies: ["Cairn", "CSystem"], path: "Benchmarks",
            swiftSettings: swift),

        // Proof
        proof("CairnVFSTests", of: ["CairnVFS", "CairnBase"]),
        .testTarget(
            name: "CairnProcessTests", dependencies: ["Cairn", "CairnBase"],
            swiftSettings: swift),

        .testTarget(
            name: "CairnFUSETests", dependencies: ["CairnFUSE", "CairnVFS", "CairnBase"],
            swiftSettings: swift),
    ]
)
