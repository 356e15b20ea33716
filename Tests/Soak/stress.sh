# stress-ng's stressors of filesystems, with their checks. One that fails is tried on tmpfs too:
# what fails there as well is the stressor's or the kernel's doing.

# Left out are those that work on no files of the directory (af-alg and the like), and those of
# tmpfs's own interfaces.
stressors=(access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate
    fcntl fiemap file-ioctl filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify
    io iomix io-uring lease link locka lockf lockofd mknod mmap mmapfork mmapmany msync open
    readahead rename revio seek sendfile splice symlink sync-file syncload touch utime verity xattr)

hunt_stress() {
    needs stress-ng
    mountRAM m -o size=4G
    stress $((MINUTES * 30))
}

hunt_stress_disk() {
    needs stress-ng
    mountDisk m 8G
    stress $((MINUTES * 15))
    cairn fsck --data m.img || fail "fsck finds damage"
}

# stress SECONDS: all stressors on the mount m, which is unmounted at last.
stress() {
    local chosen=() name seconds outcome good=0 bad=()
    for name in "${stressors[@]}"; do
        stress-ng --stressors | tr ' ' '\n' | grep -qx -- "$name" || continue
        chosen+=("$name")
    done
    seconds=$((($1 + ${#chosen[@]} - 1) / ${#chosen[@]}))
    [ $seconds -ge 2 ] || seconds=2
    echo "${#chosen[@]} stressors for $seconds s each"
    local daemon
    daemon=$(daemonOf m)
    for name in "${chosen[@]}"; do
        outcome=$(stressAt "$work/m" "$name" "$seconds")
        if [ "$outcome" != ok ] && [ "$outcome" != "not here" ]; then
            mkdir -p tmpfs
            mount -t tmpfs -o size=4G none tmpfs
            if [ "$(stressAt "$work/tmpfs" "$name" "$seconds")" = ok ]; then
                bad+=("$name")
                echo "$name: $outcome"
                cat "$work/log"
            else
                outcome="fails on tmpfs too"
            fi
            umount -l tmpfs
        fi
        echo "$name: $(head -n 1 <<<"$outcome")"
        if isGone "$daemon"; then fail "the daemon died under $name"; fi
        if [ "$outcome" = ok ]; then good=$((good + 1)); fi
        # Stressors of this version leave some directories behind when their time is over.
        rm -rf m/* || fail "rm fails after $name"
    done
    cairn umount m
    [ ${#bad[@]} = 0 ] || fail "on this mount, but not on tmpfs: ${bad[*]}"
    [ $good -ge 30 ] || fail "only $good stressors ran"
}

# stressAt PLACE STRESSOR SECONDS: "ok", "not here" or what went wrong.
stressAt() {
    local status=0
    timeout -k 10 $(($3 + 120)) stress-ng "--$2" 2 --timeout "$3" --verify --temp-path "$1" \
        --hdd-bytes 256M --iomix-bytes 256M --fallocate-bytes 256M --copy-file-bytes 128M \
        --readahead-bytes 64M --revio-bytes 64M --seek-size 64M --sync-file-bytes 64M \
        --mmap-file --mmap-bytes 64M --dirdeep-inodes 20000 --oomable \
        >"$work/log" 2>&1 || status=$?
    case $status in
        0)
            if grep -q 'fail:' "$work/log"; then grep -m 3 'fail:' "$work/log"; else echo ok; fi ;;
        3 | 4) echo "not here" ;;
        124 | 137) echo "hung" ;;
        *) grep -m 3 -E 'fail:|error:' "$work/log" || echo "status $status" ;;
    esac
}
