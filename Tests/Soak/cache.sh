# The page cache without any filesystem, in one process: threads on files, mappings and scans, late and
# faulty devices, a budget that changes, every byte checked, under ThreadSanitizer. A seed that fails is
# run again by: .build/thread/debug/cairn-cache-soak 1 SEED

hunt_cache() {
    local top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) built status=0
    built=("${SWIFT:-swift}" build --package-path "$top" --scratch-path "$top/.build/thread")
    built+=(--sanitize thread --product cairn-cache-soak)
    "${built[@]}" >build.log 2>&1 || { tail -n 5 build.log; fail "it does not build"; }
    TSAN_OPTIONS="exitcode=66 suppressions=$top/scripts/thread.suppressions" \
        SWIFT_BACKTRACE=enable=no \
        "$("${built[@]}" --show-bin-path)/cairn-cache-soak" "$MINUTES" >soak.log 2>&1 || status=$?
    grep -A 40 -m 3 'WARNING: ThreadSanitizer' soak.log || true
    tail -n 1 soak.log
    [ $status = 0 ] || fail "status $status: $(grep -v '^round' soak.log | tail -n 1)"
}
