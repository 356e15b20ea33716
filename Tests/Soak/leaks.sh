# Mounts that come and go leave nothing behind, in their own processes or in those that stay.
# Not to be run beside stress: its stressor io opens every mount that there is.

# What a process holds.
holdings() {
    echo "$(ls "/proc/$1/fd" | wc -l) descriptors, $(ls "/proc/$1/task" | wc -l) threads"
}

residentKiB() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }

# The daemons of this hunt: other mounts may come and go beside it.
daemons() { ps -e -o args= | grep -F "$work/" | grep -c '__mount-daemon'; }

# What stays of processes that are gone: files CONNECTION-PID.KIND.
orphans() {
    local file process
    for file in "$(stateDirectory)"/*; do
        process=${file##*-}
        [ ! -e "$file" ] || [ -e "/proc/${process%%.*}" ] || echo "$file"
    done
}

mounts() { grep -cF " $work/" /proc/self/mountinfo; }

# Ends what runs on the mount, removes everything, and makes the kernel forget it.
quiet() {
    local group
    for group in "${loads[@]}"; do stopLoad "$group"; done
    loads=()
    rm -rf "$work"/m/*
    echo 2 2>/dev/null >/proc/sys/vm/drop_caches || true
    sleep 2
}

# A daemon stays under load while others mount and unmount beside it.
hunt_leaks() {
    needs tar git fio
    local round rounds daemon holds resident before now one
    rounds=$(inProportion 1000)
    mountRAM m
    daemon=$(daemonOf m)
    for one in unpacking committing; do startLoad bash -c "$one '$work/m/$one'"; done
    sleep 20
    quiet
    holds=$(holdings "$daemon")
    resident=$(residentKiB "$daemon")
    before=$(orphans | wc -l)
    echo "at first: $resident KiB, $holds"
    for one in unpacking committing; do startLoad bash -c "$one '$work/m/$one'"; done
    for round in $(seq "$rounds"); do
        mountRAM second
        echo "$round" >second/file
        case $((round % 10)) in
            3) cairn umount -l second ;;
            7) cairn umount -f second ;;
            *) cairn umount second ;;
        esac
        if isMounted "$work/second"; then fail "round $round: it is mounted still"; fi
        [ $((round % 100)) != 0 ] ||
            echo "round $round: $(residentKiB "$daemon") KiB, $(holdings "$daemon")"
    done
    quiet
    now=$(residentKiB "$daemon")
    echo "at last: $now KiB, $(holdings "$daemon")"
    [ "$(holdings "$daemon")" = "$holds" ] ||
        fail "the daemon held $holds, now $(holdings "$daemon")"
    # What allocators keep for next time varies; what leaks grows with the rounds.
    [ "$now" -le $((resident + 16384)) ] ||
        fail "the daemon's memory grew from $resident KiB to $now KiB"
    [ "$(daemons)" = 1 ] || fail "daemons stay: $(ps -e -o pid,stat,args | grep -F "$work/")"
    [ "$(orphans | wc -l)" -le "$before" ] || fail "state stays: $(orphans | tr '\n' ' ')"
    [ "$(mounts)" = 1 ] || fail "mounts stay: $(grep -F " $work/" /proc/self/mountinfo)"
    cairn umount m
    eventually isGone "$daemon" || fail "the daemon stays"
    echo "$rounds mounts came and went"
}
