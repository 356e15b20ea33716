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

# What is on the disk is shown, as lines, as JSON and as a picture; damage is a line of its own.
test_disk_can_be_dumped() {
    cairn mkfs --size 64M --label 'a <label>' disk.img
    cairn cp -r "$root/docs" disk.img:/
    head -c 5M "$CAIRN" >large
    cairn cp large disk.img:/large
    cairn dump disk.img >slots
    grep -q "label .*a <label>" slots
    [ "$(grep -c '^slot' slots)" = 16 ]
    cairn dump disk.img tree >tree
    grep -q "^ *entry directory 1: name 'large', inode [0-9]*, type file" tree
    grep -q "^ *node block [0-9]*: level 0" tree
    cairn dump disk.img extents >extents
    [ "$(grep -c '^extent' extents)" = "$(grep -c '^ *extent' tree)" ]
    cairn dump disk.img log >log
    [ ! -s log ]
    # The free extents are what the superblock counts.
    cairn dump --json disk.img free >free
    cairn dump --json disk.img superblocks >superblocks
    python3 - <<'EOF'
import json
free = [json.loads(line) for line in open("free")]
chosen = [json.loads(line) for line in open("superblocks")][-1]
assert sum(line["blocks"] for line in free if line["kind"] == "free") == chosen["free blocks"]
assert sum(line["free blocks"] for line in free if line["kind"] == "region") == chosen["free blocks"]
EOF
    cairn dump --map disk.img >map.svg
    python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse("map.svg")'
    grep -q "disk.img (a &lt;label&gt;)" map.svg
    expectFailure 2 "is none of superblocks" cairn dump disk.img nothing
    expectFailure 1 "no superblock is valid" cairn dump "$CAIRN"
    root=$(cairn dump --json disk.img | tail -1 |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["main root"])')
    dd if=/dev/zero of=disk.img bs=4096 seek="$root" count=1 conv=notrunc status=none
    status=0
    cairn dump disk.img >output || status=$?
    [ $status = 1 ]
    grep -q "^damage group .*root of the main tree" output
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
