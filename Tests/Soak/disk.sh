# mfs_disk under load: killed, filled and damaged.

# serve IMAGE OPTIONS: mounts at m, with the daemon in front; `daemon` is its process then.
serve() {
    mkdir -p m
    "$CAIRN" mount -f -o "$2" "$1" m >served 2>&1 </dev/null &
    daemon=$!
    eventually isMounted "$work/m" || fail "no mount: $(cat served)"
}

# The daemon dies as if the machine did, and what it left is cleared.
killServer() {
    kill -KILL "$daemon"
    wait "$daemon" 2>/dev/null || true
    umount -l m
}

# expectSound IMAGE WHAT: fsck reads everything, and finds nothing.
expectSound() {
    local status=0
    cairn fsck --data "$1" >fsck.out 2>&1 || status=$?
    if [ $status != 0 ]; then
        cp --sparse=always "$1" "${TMPDIR:-/tmp}/cairn-soak-broken.img"
        cat fsck.out
        fail "$2: fsck ended with $status; the image is kept in ${TMPDIR:-/tmp}"
    fi
}

# growing PLACE: commits to one repository, and packs it now and then, for ever.
growing() {
    local number=0
    mkdir -p "$1" && git -C "$1" init -q || return
    git -C "$1" config user.name Soak
    git -C "$1" config user.email soak@example.org
    while number=$((number + 1)); do
        mkdir -p "$1/d$number" && seq "$number" 3000 >"$1/d$number/file" || return
        git -C "$1" add . && git -C "$1" commit -qm "$number" || return
        [ $((number % 7)) != 0 ] || git -C "$1" gc -q || return
    done
}
export -f growing

# Killed during git, tar, sqlite and a witness that syncs: each time the image mounts, fsck finds
# nothing, and what was synced is there, byte for byte.
hunt_disk_death() {
    needs git tar python3
    needsRoot
    local round rounds options life group repository
    local all=(compress=none compress=lz4 compress=zstd commit=2000 cow=off,checksums=off)
    rounds=$(inProportion 100)
    for round in $(seq "$rounds"); do
        options=${all[round % ${#all[@]}]}
        rm -f disk.img journal
        cairn mkfs --size 512M disk.img >/dev/null
        # Twice, so that what the first life left is written over by the second.
        for life in 1 2; do
            serve disk.img "$options"
            startLoad python3 "$(dirname "$BASH_SOURCE")/witness.py" run "$work/m" "$work/journal" \
                "$round$life"
            startLoad bash -c "cd '$work/m' && unpacking '$work/m/unpacking$life'"
            startLoad bash -c "cd '$work/m' && growing '$work/m/growing$life'"
            eventually [ -s journal ] || fail "round $round: nothing is synced: $(cat served)"
            sleep "$((RANDOM % 3)).$((RANDOM % 9 + 1))"
            if isGone "$daemon"; then fail "round $round: the daemon died: $(cat served)"; fi
            killServer
            for group in "${loads[@]}"; do stopLoad "$group"; done
            loads=()
            expectSound disk.img "round $round, life $life, $options"
            serve disk.img "$options"
            python3 "$(dirname "$BASH_SOURCE")/witness.py" check "$work/m" "$work/journal" >said ||
                fail "round $round, life $life, $options: $(tail -n 3 said)"
            for repository in m/growing*; do
                git -C "$repository" rev-parse -q --verify HEAD >/dev/null 2>&1 || continue
                git -C "$repository" fsck --strict --no-dangling >said 2>&1 ||
                    fail "round $round, life $life, $options: git: $(tail -n 3 said)"
            done
            # The mount that looked dies too: nothing was synced since.
            if [ $((round % 2)) = 0 ]; then killServer; else cairn umount m; fi
            expectSound disk.img "round $round, life $life, $options, after a look"
        done
    done
    echo "$rounds rounds of two deaths each, $(wc -l <journal) syncs in the last one"
}

# Filled to the last block in several ways, also across a mount.
hunt_fill() {
    needs python3
    needsRoot
    local round options number
    for round in $(seq "$(inProportion 5)"); do
        for options in compress=none compress=lz4 cow=off; do
            rm -f disk.img
            cairn mkfs --size 64M disk.img >/dev/null
            mkdir -p m
            cairn mount -o "$options" disk.img m
            python3 "$(dirname "$BASH_SOURCE")/space.py" "$work/m" "$round" disk ||
                fail "see above ($options)"
            cairn umount m
            expectSound disk.img "round $round, emptied, $options"
            # Full over an unmount, and over a death.
            cairn mount -o "$options" disk.img m
            head -c 80M /dev/urandom >m/big 2>/dev/null || true
            for number in $(seq 2000); do echo "$number" >"m/$number" || break; done 2>/dev/null
            cairn umount m
            expectSound disk.img "round $round, full, $options"
            serve disk.img "$options"
            cmp <(head -c 100 m/1 2>/dev/null) <(echo 1) 2>/dev/null || [ ! -s m/1 ] ||
                fail "round $round: a small file of a full filesystem is wrong"
            rm -r m/*
            sync -f m
            killServer
            expectSound disk.img "round $round, removed and killed, $options"
        done
    done
}

# Damage at random, under checksums that are wrong and under ones that are right: commands and mounts
# give answers, in bounded time and memory.
hunt_damage() {
    needs python3
    needsRoot
    python3 "$(dirname "$BASH_SOURCE")/damage.py" "$CAIRN" "$work" "$(inProportion 1000)"
}
