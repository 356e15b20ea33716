# A filesystem that fills up says so at the call, loses nothing that it took, lets files be
# removed, and has all its space again.

hunt_space() {
    local round
    mountRAM m -o size=64M
    for round in $(seq "$(inProportion 5)"); do
        python3 "$(dirname "$BASH_SOURCE")/space.py" "$work/m" "$round" || fail "see above"
    done
    cairn umount m
}
