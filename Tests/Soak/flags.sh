# Parts of a namespace keep what their own mounts refuse, though the kernel knows one mount.

refused() {
    local why=$1
    shift
    if "$@" 2>errors; then fail "not refused: $*"; fi
    grep -q "$why" errors || fail "$*: not '$why' but: $(cat errors)"
}

hunt_flags() {
    needsRoot
    local readOnly="Read-only file system"
    mountRAM m --at /ro=mfs_ram:none,ro --at /inert=mfs_ram:none,noexec --at /rw=mfs_ram:none
    for place in m m/rw m/inert; do
        cp /bin/true $place/program
        setfattr -n user.a -v b $place/program 2>/dev/null || [ ! "$(command -v setfattr)" ]
    done
    refused "$readOnly" touch m/ro/file
    refused "$readOnly" mkdir m/ro/directory
    refused "$readOnly" ln -s x m/ro/link
    refused "$readOnly" mknod m/ro/fifo p
    refused "$readOnly" chmod 700 m/ro
    refused "$readOnly" chown 1 m/ro
    refused "$readOnly" touch -d yesterday m/ro
    refused "$readOnly" mv m/program m/ro/program
    m/program
    m/rw/program
    refused "Permission denied" m/inert/program
    chmod 700 m/inert
    bash -c 'echo "exit 0" >m/inert/script; bash m/inert/script'
    cairn umount m
    if ls m/ro >/dev/null 2>&1; then fail "it is mounted still"; fi

    # What never comes to the daemon holds for the whole mount, if a part wants it.
    mountRAM m --at /safe=mfs_ram:none,nosuid,nodev
    mknod m/safe/null c 1 3
    refused "Permission denied" bash -c 'echo x >m/safe/null'
    grep " $work/m " /proc/self/mountinfo | grep nosuid | grep -q nodev || fail "no nosuid,nodev"
    cairn umount m

    # And what all refuse, the kernel refuses.
    mountRAM m -o ro
    refused "$readOnly" touch m/file
    grep -q " $work/m ro" /proc/self/mountinfo || fail "no ro in the kernel's table"
    cairn umount m
}
