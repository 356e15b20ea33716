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

# The file commands on an image that nobody has mounted.
test_commands_work_on_an_image_without_a_mount() {
    cairn mkfs --size 64M disk.img
    cairn mkdir -p disk.img:/a/b
    cairn mkdir -m 700 disk.img:/private
    cairn cp -a "$root/docs" disk.img:/a/
    head -c 3M /dev/urandom >random
    cairn cp random "$root/README.md" disk.img:/a/b
    cairn cat disk.img:/a/b/random | cmp - random
    cairn mv disk.img:/a/b/random disk.img:/moved
    expectFailure 1 "No such file" cairn cat disk.img:/a/b/random
    cairn ln disk.img:/moved disk.img:/second
    cairn ln -s moved disk.img:/soft
    cairn stat disk.img:/second | grep -q 'Links: 2'
    cairn touch -d '2020-01-02 03:04:05Z' disk.img:/second
    cairn ls -l disk.img:/ | grep -q '2020-01-02.* second$'
    cairn stat disk.img:/moved | grep -q '2020-01-02'
    [ "$(cairn ls disk.img:/)" = "$(printf 'a\nmoved\nprivate\nsecond\nsoft')" ]
    cairn tree disk.img:/a | tail -1 | grep -q ' directories, '
    cairn cp -a disk.img:/a/docs out
    diff -r "$root/docs" out
    # Between the host and the image, and between two images.
    cairn mv disk.img:/moved back
    cmp back random
    cairn mv back disk.img:/again
    [ ! -e back ]
    cairn mkfs --size 32M --block-size 16384 other.img
    cairn cp -a disk.img:/ other.img:/whole
    cairn cp -a other.img:/whole whole
    cmp whole/again random
    [ "$(readlink whole/soft)" = moved ]
    [ "$(stat -c %a whole/private)" = 700 ]
    cairn df --json disk.img:/ | python3 -c '
import json, sys
[row] = json.load(sys.stdin)
assert 3 << 20 < row["usedBytes"] < 16 << 20, row
assert row["totalBytes"] - row["usedBytes"] >= row["availableBytes"], row'
    expectFailure 1 "Is a directory" cairn rm disk.img:/a
    head -c 40M /dev/urandom >huge
    expectFailure 1 "No space left" cairn cp huge other.img:/whole/
    cairn rm -r disk.img:/a disk.img:/again disk.img:/second disk.img:/soft disk.img:/private
    [ -z "$(cairn ls -a disk.img:/)" ]
    cairn fsck --data disk.img
    cairn fsck --data other.img
}

# What is no image of ours is told as what it is, by each command.
test_wrong_images_are_told() {
    : >empty
    mkdir directory m
    truncate -s 64M ext4.img
    truncate -s 1M zeros
    cairn mkfs --size 16M disk.img
    head -c 8M disk.img >cut.img
    head -c 100K disk.img >short.img
    for command in "ls IMAGE:/" "mount IMAGE m" "cp IMAGE:/x y" "df IMAGE:/"; do
        expectFailure 1 "empty: is empty" cairn ${command//IMAGE/empty}
        expectFailure 1 "directory: is a directory" cairn ${command//IMAGE/directory}
        expectFailure 1 "No such file" cairn ${command//IMAGE/nothing}
        expectFailure 1 "No such file" cairn ${command//IMAGE//dev/nothing}
        expectFailure 1 "neither a file nor a block device" cairn ${command//IMAGE//dev/null}
        expectFailure 1 "the device was cut short" cairn ${command//IMAGE/cut.img}
        expectFailure 1 "so small" cairn ${command//IMAGE/short.img}
        expectFailure 1 "no filesystem that is known" cairn ${command//IMAGE/zeros}
    done
    expectFailure 8 "no filesystem fits there" cairn fsck empty
    expectFailure 1 "no filesystem fits there" cairn dump empty
    expectFailure 8 "is a directory" cairn fsck directory
    expectFailure 8 "is a directory" cairn fsck --repair directory
    expectFailure 1 "is a directory" cairn dump --map directory
    expectFailure 8 "neither a file" cairn fsck /dev/null
    expectFailure 8 "the device has 8388608 bytes" cairn fsck --repair cut.img
    if command -v mkfs.ext4 >/dev/null; then
        mkfs.ext4 -q ext4.img
        expectFailure 1 "holds ext2, ext3 or ext4" cairn ls ext4.img:/
        expectFailure 1 "holds ext2, ext3 or ext4" cairn mkfs ext4.img
        expectFailure 8 "no superblock is valid" cairn fsck ext4.img
        expectFailure 1 "no superblock is valid" cairn dump ext4.img
    fi
    cp disk.img none.img
    dd if=/dev/zero of=none.img bs=128K count=1 conv=notrunc status=none
    # The second set is enough.
    cairn ls none.img:/
    needsRoot
    command -v setpriv >/dev/null || return 0
    chmod 755 "$work"
    chmod 600 disk.img
    asUser test -x "$CAIRN" || return 0
    expectFailure 1 "Permission denied" asUser "$CAIRN" ls disk.img:/
    expectFailure 8 "Permission denied" asUser "$CAIRN" fsck disk.img
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

# D5: with -o sync each change is durable as the call returns, whatever it changes.
test_with_sync_every_change_is_durable_at_once() {
    [ "$(id -u)" = 0 ] || skip "only root may ask for sync"
    cairn mkfs --size 100M disk.img
    mkdir mnt
    "$CAIRN" mount -f -o sync,commit=300000 disk.img mnt &
    daemon=$!
    while ! isMounted "$work/mnt"; do sleep 0.1; done
    mkdir mnt/d mnt/gone
    echo text >mnt/d/file
    ln mnt/d/file mnt/second
    ln -s d/file mnt/link
    mkfifo mnt/fifo
    rmdir mnt/gone
    touch mnt/removed
    rm mnt/removed
    mv mnt/d/file mnt/d/renamed
    setfattr -n user.key -v value mnt/second
    fallocate -l 1M mnt/long
    truncate -s 3 mnt/second
    cp mnt/second mnt/copy
    chmod 600 mnt/copy
    touch -d "2001-02-03 04:05:06" mnt/d
    find mnt -mindepth 1 -printf '%P %y %m %n %s %l %T@\n' | sort >before
    kill -9 $daemon
    wait $daemon || true
    umount -l mnt
    cairn fsck --data disk.img
    mountDisk
    find mnt -mindepth 1 -printf '%P %y %m %n %s %l %T@\n' | sort >after
    diff before after
    [ "$(getfattr --only-values -n user.key mnt/second)" = value ]
    [ "$(cat mnt/copy)" = tex ]
    cairn umount mnt
}
