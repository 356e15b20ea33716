# mfs_disk by the command: made, mounted, killed, checked.

mountDisk() {
    mkdir -p "$work/mnt"
    cairn mount "$@" "$work/disk.img" "$work/mnt"
}

# D1, D10: the type is found from the image; what was written is there after an unmount.
test_disk_keeps_what_it_was_given() {
    cairn mkfs --size 300M --label x disk.img
    expectFailure 1 "there is a filesystem on it" cairn mkfs disk.img
    cairn fsck disk.img
    for options in compress=none compress=lz4 compress=zstd:3,commit=1000 checksums=off cow=off; do
        mountDisk -o "$options"
        cp -r "$root/Sources" mnt/
        expectFailure 8 "it is mounted, or open elsewhere" cairn fsck disk.img
        cairn umount mnt
        cairn fsck --data disk.img
        mountDisk -o ro
        diff -r "$root/Sources" mnt/Sources
        expectFailure 1 "Read-only" touch mnt/x
        cairn umount mnt
        mountDisk
        rm -r mnt/Sources
        cairn umount mnt
    done
    cairn fsck --data disk.img
}

# D3, D5: what was synced survives the death of the daemon.
test_disk_survives_the_death_of_its_daemon() {
    cairn mkfs --size 300M disk.img
    mkdir mnt
    "$CAIRN" mount -f disk.img mnt &
    daemon=$!
    while ! grep -qF " $work/mnt " /proc/self/mountinfo; do sleep 0.1; done
    cp -r "$root/docs" mnt/
    sync mnt/docs/format.md
    cp -r "$root/Sources" mnt/
    kill -9 $daemon
    wait $daemon || true
    umount -l mnt || fusermount3 -uz mnt
    cairn fsck --data disk.img
    mountDisk
    diff -r "$root/docs" mnt/docs
    cairn umount mnt
    cairn fsck --data disk.img
}
