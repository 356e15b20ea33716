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

# keeping MAKE SOURCE PLACE JOURNAL: makes one copy of SOURCE after the other below PLACE, and syncs
# each before the journal says that it is there; old ones go. For ever.
keeping() {
    local number=0
    mkdir -p "$3" || return
    while number=$((number + 1)); do
        "$1" "$2" "$3/$number" && sync "$3/$number" && echo "there $3/$number" >>"$4" || return
        [ $number -gt 2 ] || continue
        echo "going $3/$((number - 2))" >>"$4"
        rm -rf "$3/$((number - 2))" || return
    done
}
cloning() { git clone -q --no-local "$1" "$2"; }
untarring() { mkdir "$2" && tar -C "$2" -xf "$1.tar"; }
export -f keeping cloning untarring

# checkKept JOURNAL: each copy that it says is there is whole.
checkKept() {
    local place
    for place in $(awk '{ is[$2] = $1 } END { for (p in is) if (is[p] == "there") print p }' "$1"); do
        case $place in
            *cloning*)
                git -C "$place" fsck --strict && git -C "$place" status --porcelain | cmp - /dev/null &&
                    [ "$(git -C "$place" rev-parse HEAD)" = "$(git -C source rev-parse HEAD)" ] ;;
            *) diff -r --no-dereference "$place" unpacked ;;
        esac || { echo "$place is not as it was synced"; return 1; }
    done
}

# What is cloned and unpacked: source, a repository; unpacked.tar, of the tree unpacked.
makeSources() {
    local letter
    mkdir unpacked
    cp -r /usr/include/linux /etc/ssl unpacked/
    tar -C unpacked -cf unpacked.tar .
    git init -q source
    git -C source config user.name Soak
    git -C source config user.email soak@example.org
    for letter in a c d e f h i k l m n p q r s t u v w x; do
        mkdir "source/$letter"
        cp /usr/include/linux/"$letter"*.h "source/$letter/"
        seq 30000 | tr 1 "$letter" >"source/$letter/file"
        git -C source add .
        git -C source commit -qm "$letter"
    done
    git -C source gc -q
}

# Killed during git, tar, sqlite and a witness that syncs: each time the image mounts, fsck finds
# nothing, and what was synced is there, byte for byte.
hunt_disk_death() {
    needs git tar python3
    needsRoot
    local round rounds options life group repository syncs=0
    makeSources
    local all=(compress=none compress=lz4 compress=zstd commit=2000 cow=off,checksums=off)
    rounds=$(inProportion 100)
    for round in $(seq "$rounds"); do
        options=${all[round % ${#all[@]}]}
        rm -f disk.img journal kept
        : >kept
        cairn mkfs --size 512M disk.img >/dev/null
        # Twice, so that what the first life left is written over by the second.
        for life in 1 2; do
            serve disk.img "$options"
            startLoad python3 "$(dirname "$BASH_SOURCE")/witness.py" run "$work/m" "$work/journal" \
                "$round$life"
            startLoad bash -c "cd '$work/m' && growing '$work/m/growing$life'"
            startLoad bash -c "keeping cloning '$work/source' '$work/m/cloning$life' '$work/kept'"
            startLoad bash -c "keeping untarring '$work/unpacked' '$work/m/untarring$life' '$work/kept'"
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
            checkKept kept >said 2>&1 ||
                fail "round $round, life $life, $options: $(tail -n 3 said)"
            for repository in m/growing* m/cloning*/*; do
                git -C "$repository" rev-parse -q --verify HEAD >/dev/null 2>&1 || continue
                git -C "$repository" fsck --strict --no-dangling >said 2>&1 ||
                    fail "round $round, life $life, $options: git: $(tail -n 3 said)"
            done
            # The mount that looked dies too: nothing was synced since.
            if [ $((round % 2)) = 0 ]; then killServer; else cairn umount m; fi
            expectSound disk.img "round $round, life $life, $options, after a look"
        done
        syncs=$((syncs + $(cat journal kept | wc -l)))
        [ $((round % 10)) != 0 ] || echo "round $round: $syncs syncs so far"
    done
    echo "$rounds rounds of two deaths each, $syncs syncs"
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
