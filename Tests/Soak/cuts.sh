# Cuts of the power (requirement T2): Tests/CairnDiskTests/Cuts, on and on, each time from other seeds.
# A failure names its seed, workload and moment; CAIRN_CUT_SEED=N begins there.

hunt_cuts() {
    local seed=${CAIRN_CUT_SEED:-$((RANDOM * 32768 + RANDOM))}
    echo "seed $seed; CAIRN_CUT_SEED=$seed begins there again"
    CAIRN_CUT_SECONDS=$((MINUTES * 40)) CAIRN_CUT_SEED=$seed \
        swiftTest FileSystemCutTests || fail "seed $seed: see above"
    CAIRN_CUTS=$((MINUTES * 10)) swiftTest PowerCutTests || fail "at volume level: see above"
}

# Images that were made to do harm, with right checksums (requirement T4).
hunt_hostile() {
    local seed=${CAIRN_CUT_SEED:-$((RANDOM * 32768 + RANDOM))}
    CAIRN_HOSTILE_SECONDS=$((MINUTES * 20)) CAIRN_CUT_SEED=$seed \
        swiftTest HostileImageTests || fail "the last seed that was printed crashes or hangs"
}

# Some tests of the package; what they print is shown.
swiftTest() {
    local here
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    (cd "$here" && "${SWIFT:-swift}" test --filter "$1")
}
