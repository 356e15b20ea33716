# Images against docs/format.md: Tests/Format/reader.py, written from that document alone, reads what
# the command wrote.

reader() { python3 "$root/Tests/Format/reader.py" "$@"; }

# Files of all forms below a directory: inline, large, with holes, overwritten in part, linked.
writeFiles() {
    local place=$1
    mkdir "$place/adr"
    cp -a "$root"/docs/adr/00*.md "$place/adr/"
    cat "$root"/docs/*.md | head -c 250000 >"$place/text"
    head -c 100000 /dev/urandom >"$place/random"
    dd if=/dev/urandom of="$place/text" bs=1000 seek=70 count=20 conv=notrunc status=none
    truncate -s 1000000 "$place/sparse"
    echo x | dd of="$place/sparse" bs=1 seek=500000 conv=notrunc status=none
    fallocate -l 200000 "$place/reserved"
    echo y | dd of="$place/reserved" bs=1 seek=70000 conv=notrunc status=none
    ln "$place/text" "$place/hard"
    ln -s adr "$place/soft"
    mkfifo "$place/fifo"
    setfattr -n user.small -v hello "$place/text"
    setfattr -n user.large -v "$(head -c 9000 /dev/zero | tr '\0' z)" "$place/random"
}

listing() {
    (cd "$1" && find . ! -type p -printf '%P %y %s %n %T@ %l\n' |
        sed '/^[^ ]* d /s/ [0-9]* / /' | sort)
}

# What the reader takes out of an image is what was written, byte for byte, with times and links.
expectExtracted() {
    local image=$1 wanted=$2
    rm -rf extracted
    mkdir extracted
    reader "$image" check
    reader "$image" extract extracted
    listing "$wanted" >wanted.list
    listing extracted >extracted.list
    diff wanted.list extracted.list
    rm -f extracted/fifo
    diff -r --no-dereference --exclude=fifo "$wanted" extracted
}

# D7, D8, D12
test_reader_extracts_what_was_written() {
    local size compression
    mkdir mnt
    while read -r size compression; do
        cairn mkfs --size 64M --block-size "$size" disk.img
        cairn mount -o compress="$compression" disk.img mnt
        writeFiles mnt
        rm -rf written
        cp -a mnt written
        cairn umount mnt
        expectExtracted disk.img written
        reader disk.img attributes >attributes
        grep -qx '/text user.small 68656c6c6f' attributes
        [ "$(grep -c '^/random user.large \(7a\)\{9000\}$' attributes)" = 1 ]
        rm disk.img
    done <<'SIZES'
4096 lz4
8192 zstd:9
16384 none
SIZES
}

# D3, D12: what was synced, and stands in the log only, is read from there.
test_reader_carries_out_the_log() {
    cairn mkfs --size 64M disk.img
    mkdir mnt
    "$CAIRN" mount -f -o commit=600000 disk.img mnt &
    daemon=$!
    eventually isMounted "$work/mnt"
    cp -a "$root/docs/adr" mnt/
    sync -f mnt
    cp "$root/README.md" mnt/
    sync mnt/README.md
    mv mnt/adr/001*.md mnt/moved
    rm mnt/adr/002*.md
    echo more >>mnt/README.md
    sync mnt/README.md
    cp -a mnt written
    kill -9 $daemon
    wait $daemon || true
    umount -l mnt || fusermount3 -uz mnt
    cairn dump disk.img log >log
    [ -s log ] || fail "nothing is in the log"
    cairn fsck --data disk.img
    expectExtracted disk.img written
    # A mount that may only read shows it too, and one that may write carries it out.
    cairn cp -o ro -a disk.img:/ copied
    diff -r written copied
    cairn mount disk.img mnt
    diff -r written mnt
    cairn umount mnt
    expectExtracted disk.img written
}
