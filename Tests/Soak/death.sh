# The daemon is killed while it is busy; what is left is cleared, and the place serves again.

hunt_death() {
    needs tar git fio
    local round rounds daemon group groups one
    rounds=$(inProportion 40)
    for round in $(seq "$rounds"); do
        mountRAM m
        daemon=$(daemonOf m)
        groups=()
        for one in unpacking committing writing; do
            startLoad bash -c "cd '$work/m' && $one '$work/m/$one'"
            groups+=("$load")
        done
        sleep "$((round % 3)).$((RANDOM % 9 + 1))"
        if isGone "$daemon"; then fail "round $round: the daemon died by itself"; fi
        kill -KILL "$daemon"
        eventually isGone "$daemon" || fail "round $round: the daemon does not die"
        # Now with the users still there, now after they ended: nobody may hang.
        if [ $((round % 2)) = 0 ]; then
            for group in "${groups[@]}"; do stopLoad "$group"; done
        fi
        timeout 30 "$CAIRN" umount m 2>said || fail "round $round: umount: $(cat said)"
        if isMounted "$work/m"; then fail "round $round: umount left the mount"; fi
        # They would go on in the second mount, by the same path.
        for group in "${groups[@]}"; do stopLoad "$group"; done
        loads=()
        mountRAM m
        echo "$round" >m/file
        [ "$(cat m/file)" = "$round" ] || fail "round $round: the second mount does not serve"
        cairn umount m
        if isMounted "$work/m"; then fail "round $round: the second mount stayed"; fi
        if ls "$(stateDirectory)" 2>/dev/null | grep -q -- "-$daemon\."; then
            fail "round $round: the dead daemon's state stays in $(stateDirectory)"
        fi
    done
    echo "$rounds times killed, cleared and mounted again"
}
