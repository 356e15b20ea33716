# Mounting, and what programs do on a mount.

# The contract: mount returns once the mount answers.
test_a_mount_answers_when_the_command_returns() {
    mountRAM m
    isMounted "$work/m"
    [ "$(stat -f -c %T m)" = fuseblk ] || [ "$(stat -f -c %T m)" = fuse ]
    echo hello >m/file
    [ "$(cat m/file)" = hello ]
    grep -q " $work/m .* - fuse.cairn mfs_ram " /proc/self/mountinfo
    cairn umount m
    isNotMounted "$work/m"
}

test_coreutils_find_what_they_expect() {
    mountRAM m
    cd m
    mkdir -p a/b/c
    echo one >a/one
    cp a/one a/two
    mv a/two a/b/two
    ln a/one a/hard
    ln -s one a/soft
    [ "$(stat -c %h a/one)" = 2 ]
    [ "$(readlink a/soft)" = one ]
    [ "$(cat a/soft)" = one ]
    chmod 640 a/one
    [ "$(stat -c %a a/hard)" = 640 ]
    touch -d '2001-02-03 04:05:06.123456789Z' a/one
    [ "$(stat -c %.9Y a/one)" = 981173106.123456789 ]
    truncate -s 1G a/sparse
    [ "$(stat -c %s a/sparse)" = 1073741824 ]
    [ "$(du -k a/sparse | cut -f1)" -lt 64 ]
    head -c 5000000 /dev/urandom >a/random
    cp a/random a/copy
    cmp a/random a/copy
    [ "$(find . -type f | wc -l)" = 6 ]
    if rmdir a 2>/dev/null; then fail "rmdir of a full directory"; fi
    rm -r a
    [ -z "$(ls -A)" ]
}

test_extended_attributes_stay() {
    mountRAM m
    touch m/file
    python3 - "$work/m/file" <<'PY'
import os, sys
path = sys.argv[1]
os.setxattr(path, "user.colour", b"green\0blue")
assert os.getxattr(path, "user.colour") == b"green\0blue"
assert os.listxattr(path) == ["user.colour"]
os.removexattr(path, "user.colour")
assert os.listxattr(path) == []
PY
}

test_a_tree_survives_tar() {
    mountRAM m
    mkdir m/in m/out
    cp -r "$root/Sources" m/in/
    tar -C m/in -cf m/tree.tar .
    tar -C m/out -xf m/tree.tar
    diff -r m/in m/out
    diff -r "$root/Sources" m/out/Sources
}

test_git_works_on_a_mount() {
    mountRAM m
    cd m
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
    git init -q repository
    cd repository
    git config user.name Test
    git config user.email test@example.org
    for number in $(seq 20); do
        mkdir -p "directory-$number"
        seq "$number" 500 >"directory-$number/file"
    done
    git add .
    git commit -qm first
    git checkout -qb side
    echo more >>directory-1/file
    git commit -qam second
    git checkout -q -
    git merge -q side
    git gc -q
    git fsck --strict
    git clone -q . ../clone
    diff -r --exclude=.git . ../clone
    [ -z "$(git status --porcelain)" ]
}

test_sqlite_works_on_a_mount() {
    mountRAM m
    for mode in delete wal; do
        sqlite3 "m/$mode.db" "pragma journal_mode=$mode; create table t(x);
            with recursive n(i) as (select 1 union all select i+1 from n where i < 20000)
            insert into t select i from n; update t set x = x + 1;" >/dev/null
        [ "$(sqlite3 "m/$mode.db" 'select sum(x) from t; pragma integrity_check')" = \
            "$(printf '200030000\nok')" ]
    done
}

test_programs_run_from_a_mount() {
    mountRAM m
    cp /bin/true m/program
    m/program
    cp /bin/true m/other
    chmod a-x m/other
    if m/other 2>/dev/null; then fail "a file without x was run"; fi
}

test_memory_maps_are_coherent() {
    mountRAM m
    python3 - "$work/m/file" <<'PY'
import mmap, os, sys
path = sys.argv[1]
with open(path, "w+b") as file:
    file.truncate(1 << 20)
    with mmap.mmap(file.fileno(), 1 << 20) as memory:
        memory[4096:4101] = b"hello"
        memory.flush()
        assert os.pread(file.fileno(), 5, 4096) == b"hello"
        os.pwrite(file.fileno(), b"world", 8192)
        assert memory[8192:8197] == b"world"
PY
}

# A size limit is kept, shown and given back.
test_a_full_filesystem_says_so_and_rm_works() {
    mountRAM m -o size=8M
    if head -c 20M /dev/zero >m/big 2>"$work/errors"; then fail "20M fit into 8M"; fi
    grep -q "No space left" errors
    rm m/big
    head -c 4M /dev/zero >m/fits
    sync m/fits
    [ "$(df -k --output=size m | tail -1 | tr -d ' ')" = 8192 ]
}

test_a_read_only_mount_takes_no_change() {
    mountRAM m -o ro
    if touch m/file 2>errors; then fail "touch worked"; fi
    grep -q "Read-only file system" errors
    grep -q " $work/m ro[, ]" /proc/self/mountinfo
}

test_options_of_the_type_take_effect() {
    mountRAM m -o mode=0711,uid=1234,gid=4321
    [ "$(stat -c %a:%u:%g m)" = 711:1234:4321 ]
}

test_wrong_words_are_refused_and_nothing_is_mounted() {
    mkdir m
    expectFailure 1 "option bogus: " cairn mount -t mfs_ram -o bogus none m
    expectFailure 1 "option size: " cairn mount -t mfs_ram -o size=much none m
    expectFailure 1 "takes no value" cairn mount -t mfs_ram -o ro=1 none m
    expectFailure 1 "type nothing: unknown" cairn mount -t nothing none m
    grep -q "known types: .*mfs_ram" .errors
    expectFailure 1 "name it with -t" cairn mount none m
    expectFailure 1 "missing: No such file or directory" cairn mount -t mfs_ram none missing
    touch plain
    expectFailure 1 "plain: Not a directory" cairn mount -t mfs_ram none plain
    expectFailure 2 "one operand more" cairn mount -t mfs_ram none
    expectFailure 2 "unknown option '--wrong'" cairn mount --wrong none m
    expectFailure 2 "must be PATH=TYPE:SOURCE" cairn mount -t mfs_ram --at x none m
    expectFailure 1 "--at /p" cairn mount -t mfs_ram -o ro --at /p=mfs_ram:none none m
    expectFailure 1 "option bogus" cairn mount -t mfs_ram --at /p=mfs_ram:none,bogus none m
    isNotMounted "$work/m"
}

# What a part cannot have must not be swallowed.
test_a_part_takes_no_option_of_the_whole_mount() {
    mkdir m
    for option in allow_other default_permissions writeback transport=device threads=2 noauto sync; do
        expectFailure 1 "option ${option%%=*}: is of the whole mount" \
            cairn mount -t mfs_ram --at "/p=mfs_ram:none,$option" none m
        isNotMounted "$work/m"
    done
    mountRAM m --at /p=mfs_ram:none,ro,size=1M
    if touch m/p/file 2>/dev/null; then fail "a part that is ro was written to"; fi
}

test_the_door_is_made_as_asked() {
    mountRAM m -o transport=device,threads=3
    cairn stats --json m | grep -q '"transport": "device"'
    [ "$(cat "/proc/$(daemonOf m)"/task/*/comm | grep -c cairn-fuse)" = 2 ]
    cairn umount m
    mkdir -p m
    expectFailure 1 "option transport: 'pigeon' is none of" \
        cairn mount -t mfs_ram -o transport=pigeon none m
    for count in 0 -1 many 257; do
        expectFailure 1 "option threads: '$count' is no number" \
            cairn mount -t mfs_ram -o "threads=$count" none m
    done
    if ! grep -q Y /sys/module/fuse/parameters/enable_uring; then
        expectFailure 1 "enable_uring" cairn mount -t mfs_ram -o transport=io_uring none m
    fi
    isNotMounted "$work/m"
}

# With writeback the kernel gathers small writes: far fewer requests than calls. That is what a mount
# does for whose space nobody set a limit; where one is set, write(2) says that it is full.
test_writeback_gathers_small_writes() {
    writes() {
        cairn stats --json m | python3 -c 'import json, sys
print(sum(o["count"] for o in json.load(sys.stdin)["operations"] if o["name"].lower() == "write"))'
    }
    for option in rw writeback nowriteback size=1G; do
        mountRAM m -o "$option"
        dd if=/dev/zero of=m/file bs=512 count=4096 conv=fsync 2>/dev/null
        [ "$(stat -c %s m/file)" = 2097152 ]
        count=$(writes)
        case $option in
            nowriteback | size=1G) [ "$count" -ge 4096 ] ;;
            rw | writeback) [ "$count" -lt 1000 ] ;;
        esac
        cairn umount m
    done
    # What was gathered is no hole to who looks for one.
    mountRAM m
    python3 - <<'END'
import os
file = os.open("m/sparse", os.O_RDWR | os.O_CREAT)
for place in (1 << 20, 3 << 20):
    os.pwrite(file, b"x" * 8192, place)
    assert os.lseek(file, place - 65536, os.SEEK_DATA) == place
    assert os.lseek(file, place, os.SEEK_HOLE) == place + 8192
    assert os.pread(file, 8192, place) == b"x" * 8192
END
    cairn umount m
    # The price: that it is full is told late.
    mountRAM m -o writeback,size=1M
    if dd if=/dev/zero of=m/file bs=4k count=1024 conv=fsync 2>errors; then fail "4M in 1M"; fi
    grep -q "No space left" errors
}

test_a_second_mount_covers_the_first() {
    # Before it mounts, fusermount3 looks at the place as root, who does not get into a user's mount.
    needsRoot
    mountRAM m
    echo first >m/file
    mountRAM m
    [ ! -e m/file ]
    echo second >m/file
    cairn umount m
    [ "$(cat m/file)" = first ]
    cairn umount m
    isNotMounted "$work/m"
}

# V2: mounts in a namespace; a door to the kernel shows them.
test_a_namespace_of_several_is_one_mount() {
    mountRAM m --at /deep/below=mfs_ram:none,size=1M --at /second=mfs_ram:none
    echo data >m/deep/below/file
    [ "$(cat m/deep/below/file)" = data ]
    [ "$(ls m)" = "$(printf 'deep\nsecond')" ]
    if mv m/deep/below/file m/second/ 2>/dev/null; then :; else fail "mv across copies"; fi
    [ "$(cat m/second/file)" = data ]
    if rmdir m/second 2>/dev/null; then fail "a mount point was removed"; fi
    cairn umount m
}

# A2: procfs shows the namespace that it stands in.
test_procfs_shows_what_goes_on() {
    mountRAM m --at /proc=procfs:none --at /data=mfs_ram:none,size=1M
    [ "$(awk '{ print $2 " " $3 }' m/proc/mounts)" = \
        "$(printf '/ mfs_ram\n/proc procfs\n/data mfs_ram')" ]
    grep -q mfs_ram m/proc/filesystems
    for file in m/proc/*.json; do python3 -m json.tool "$file" >/dev/null; done
    cairn cp m/proc/mounts copy
    cmp copy m/proc/mounts
    # What has no access lists lets others than its owner in.
    if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
        chmod 755 "$work"
        asUser cat m/proc/mounts | cmp - copy
    fi
    cairn umount m
}

test_names_are_bytes() {
    mountRAM m
    name=$(printf 'caf\xc3\xa9 \xff\xfe new\nline')
    echo x >"m/$name"
    [ "$(ls m | head -c 5)" = "$(printf 'caf\xc3\xa9')" ]
    long=$(printf 'n%.0s' $(seq 255))
    touch "m/$long"
    if touch "m/${long}n" 2>errors; then fail "256 bytes"; fi
    grep -q "File name too long" errors
}

test_a_foreground_mount_ends_with_a_signal() {
    for signal in INT TERM HUP; do
        mkdir -p m
        # A shell without job control starts what is in the background with SIGINT ignored.
        python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$CAIRN" mount -f -t mfs_ram none m >output &
        server=$!
        eventually isMounted "$work/m"
        eventually grep -q "Ctrl-C" output
        echo x >m/file
        kill -s "$signal" "$server"
        wait "$server"
        isNotMounted "$work/m"
    done
}

test_nohup_keeps_a_foreground_mount() {
    mkdir m
    nohup "$CAIRN" mount -f -t mfs_ram none m >output 2>&1 &
    server=$!
    eventually grep -q "Ctrl-C" output
    kill -HUP "$server"
    sleep 0.5
    echo x >m/file
    kill -TERM "$server"
    wait "$server"
}

# What `make run` does: it makes an image and mounts it; on a terminal Ctrl-C ends the mount, make ends
# with 0, and what was written is there next time.
test_make_run_ends_with_control_c() {
    printf 'run:\n\t@exec %s %s\n' "$root/scripts/run" "$CAIRN" >Makefile
    CAIRN_MOUNT=$work/m CAIRN_IMAGE=$work/run.img python3 - <<'PY'
import os, pty, time
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("make", ["make", "--no-print-directory", "run"])
said = b""
while b"Ctrl-C unmounts it" not in said:
    said += os.read(terminal, 4096)
with open("m/file", "w") as file:
    file.write("x")
os.write(terminal, b"\x03")
try:
    while True:
        said += os.read(terminal, 4096)
except OSError:
    pass
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert status == 0, (status, said)
PY
    isNotMounted "$work/m"
    cairn fsck run.img
    cairn mount run.img m
    [ "$(cat m/file)" = x ]
    cairn umount m
}

# A daemon must not keep what its caller had open.
test_a_daemon_inherits_nothing() {
    exec 7>held
    mountRAM m
    for link in "/proc/$(daemonOf m)"/fd/*; do
        case $(readlink "$link") in "$work"/*) fail "the daemon holds $(readlink "$link")" ;; esac
    done
    [ "$(readlink "/proc/$(daemonOf m)/cwd")" = / ]
    exec 7>&-
    # Whoever waits for the end of the command's output gets it.
    mkdir other
    output=$(timeout 10 "$CAIRN" mount -t mfs_ram none other)
    [ -z "$output" ]
}

# A user without rights mounts through fusermount3.
test_a_user_mounts_without_root() {
    needsUser
    as() { asUser XDG_RUNTIME_DIR="$work/run" "$@"; }
    as "$CAIRN" mount -t mfs_ram --at /proc=procfs:none none own
    as touch own/file
    # What has no access lists lets others than its owner in.
    [ "$(as ls own/proc/mounts)" = own/proc/mounts ]
    [ "$(as cat own/proc/mounts | wc -l)" = 2 ]
    [ "$(as stat -c %u own/file)" = 65534 ]
    # Not even root, without allow_other.
    if ls own >/dev/null 2>&1; then fail "another user got in"; fi
    as "$CAIRN" stats --json own | python3 -m json.tool >/dev/null
    as "$CAIRN" umount own
    isNotMounted "$work/own"
}

# A path that cannot be carried to the kernel is refused for that, not called missing.
test_a_mount_point_that_is_no_text_is_refused_for_that() {
    place=$(printf 'caf\xe9')
    mkdir "$place"
    expectFailure 1 "its path is not UTF-8" cairn mount -t mfs_ram none "$place"
    mkdir "$place/below"
    cd "$place"
    expectFailure 1 "its path is not UTF-8" cairn mount -t mfs_ram none below
    ! grep -qF "$work" <(grep fuse.cairn /proc/self/mountinfo) || fail "something was mounted"
}

# -- mount(8) ------------------------------------------------------------------------------

test_the_helper_takes_what_mount_gives_it() {
    needsRoot
    mkdir m
    ln -s "$CAIRN" mount.cairn
    ./mount.cairn none "$work/m" -n -o rw,type=mfs_ram,size=4M,x-note=1
    [ "$(df -k --output=size m | tail -1 | tr -d ' ')" = 4096 ]
    cairn umount m
    isNotMounted "$work/m"
    expectFailure 32 "option bogus" ./mount.cairn none "$work/m" -o type=mfs_ram,bogus
    expectFailure 1 "unknown option" ./mount.cairn none "$work/m" --bogus
    ./mount.cairn none "$work/m" -f -o type=mfs_ram
    isNotMounted "$work/m"
}

# `mount -t cairn` and an /etc/fstab: in a mount namespace of its own,
# where the helpers lie over /sbin.
test_mount_and_fstab_know_the_type() {
    needsRoot
    mkdir over over/upper over/work m
    cat >inside <<EOF
set -e
cd over
mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir=upper,workdir=work /usr/sbin
cd ..
ln -sf "$CAIRN" /usr/sbin/mount.cairn
ln -sf "$CAIRN" /usr/sbin/mount.fuse.cairn
touch ready
mount -t cairn -o type=mfs_ram,size=4M none $work/m
echo data >$work/m/file
grep -q "$work/m .* - fuse.cairn" /proc/self/mountinfo
"$CAIRN" umount $work/m
! grep -q "$work/m .* - fuse.cairn" /proc/self/mountinfo
echo "none $work/m cairn type=mfs_ram,noauto,nofail,size=2M 0 0" >fstab
mount --fstab fstab $work/m
test "\$(df -k --output=size $work/m | tail -1 | tr -d ' ')" = 2048
"$CAIRN" umount $work/m
EOF
    unshare --mount true 2>/dev/null || skip "no mount namespaces here"
    if ! unshare --mount bash inside 2>errors; then
        [ -e ready ] || skip "no overlay over /usr/sbin here"
        fail "$(cat errors)"
    fi
}
