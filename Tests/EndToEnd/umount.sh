# Unmounting: clean, busy, lazy, by force, and after the daemon's death.

# The contract: 0 only after the daemon is gone, and nothing is left behind.
test_umount_returns_when_the_daemon_is_gone() {
    mountRAM m
    echo x >m/file
    daemon=$(daemonOf m)
    number=$(connectionOf "$work/m")
    [ -e "$(stateDirectory)/$number-$daemon.json" ]
    cairn umount m
    isGone "$daemon"
    isNotMounted "$work/m"
    [ -z "$(ls "$(stateDirectory)" | grep "^$number-$daemon")" ]
}

test_a_busy_mount_stays_and_says_who_uses_it() {
    mountRAM m
    (cd m && exec sleep 60) &
    user=$!
    isThere() {
        [ "$(readlink "/proc/$user/cwd")" = "$work/m" ] && grep -q sleep "/proc/$user/comm"
    }
    eventually isThere
    expectFailure 1 "m: busy: used by sleep ($user)" cairn umount m
    grep -q "cairn umount -l" .errors
    echo still >m/file
    kill "$user"
    wait "$user" 2>/dev/null || true
    cairn umount m
}

test_lazy_lets_users_finish() {
    mountRAM m
    daemon=$(daemonOf m)
    exec 5<>m/file
    cairn umount -l m
    isNotMounted "$work/m"
    echo written later >&5
    [ "$(cat /proc/self/fd/5)" = "written later" ]
    isAlive "$daemon"
    exec 5>&-
    eventually isGone "$daemon"
}

test_force_fails_what_is_in_use() {
    needsRoot
    mountRAM m
    daemon=$(daemonOf m)
    exec 5<>m/file
    cairn umount -f m
    isNotMounted "$work/m"
    isGone "$daemon"
    # The kernel may take a write into its cache still; it cannot say that it is durable.
    python3 - <<'PY'
import os
try:
    os.write(5, b"x")
    os.fsync(5)
except OSError:
    pass
else:
    raise SystemExit("fsync after umount -f")
PY
    exec 5>&-
}

# A daemon that hangs is what -f is for.
test_force_works_when_the_daemon_does_not_answer() {
    needsRoot
    mountRAM m
    daemon=$(daemonOf m)
    kill -STOP "$daemon"
    timeout 5 stat m/missing >/dev/null 2>&1 &
    sleep 0.2
    expectFailure 1 "does not answer" cairn umount m
    timeout 30 "$CAIRN" umount -f m
    isNotMounted "$work/m"
    eventually isGone "$daemon"
    wait
}

test_a_mount_whose_daemon_was_killed_is_cleared() {
    mountRAM m
    daemon=$(daemonOf m)
    number=$(connectionOf "$work/m")
    kill -KILL "$daemon"
    eventually isGone "$daemon"
    expectFailure 1 "Transport endpoint is not connected" cairn ls m
    expectFailure 1 "its daemon is gone" cairn stats m
    expectFailure 1 "cairn umount clears it" cairn mount -t mfs_ram none m
    cairn umount m 2>said
    grep -q "its daemon had died" said
    isNotMounted "$work/m"
    [ -z "$(ls "$(stateDirectory)" | grep "^$number-$daemon")" ]
    # The number of the connection may be used again; what the dead one left does no harm.
    mountRAM m
    echo x >m/file
    cairn umount m
}

test_only_mounts_of_cairn_are_unmounted() {
    mkdir plain
    expectFailure 1 "plain: is not a mount point" cairn umount plain
    expectFailure 1 "umount(8)" cairn umount /proc
    isMounted /proc
    expectFailure 1 "No such file or directory" cairn umount missing/place
    expectFailure 2 "exclude one another" cairn umount -f -l plain
}

test_umount_takes_any_spelling_of_the_place() {
    mountRAM "with space"
    ln -s "with space" link
    cairn umount "./link/"
    isNotMounted "$work/with space"
    mountRAM m
    mkdir m/deep
    expectFailure 1 "is not a mount point" cairn umount m/deep
    cairn umount "m/../m/."
}

# A signal to a busy daemon takes the mount out of the tree and lets its users finish.
test_a_daemon_that_is_told_to_end_ends_cleanly() {
    mountRAM m
    daemon=$(daemonOf m)
    kill -TERM "$daemon"
    eventually isGone "$daemon"
    isNotMounted "$work/m"

    mountRAM m
    daemon=$(daemonOf m)
    exec 5<>m/file
    kill -TERM "$daemon"
    eventually isNotMounted "$work/m"
    echo later >&5
    exec 5>&-
    eventually isGone "$daemon"
}

# The kernel gives connection numbers away again at once.
test_mounts_that_come_and_go_do_not_mix_their_state() {
    for round in $(seq 15); do
        mountRAM "a$round" &
        mountRAM "b$round"
        wait
        cairn umount "a$round" &
        mountRAM "c$round"
        cairn umount "b$round"
        wait
        cairn stats --json "c$round" | grep -q "\"mountPoint\": \"$work/c$round\""
    done
    for round in $(seq 15); do
        [ "$(readlink "/proc/$(daemonOf "c$round")/exe")" = "$(readlink -f "$CAIRN")" ]
        cairn umount "c$round"
    done
}

test_a_second_place_keeps_the_daemon() {
    needsRoot
    mountRAM m
    mkdir second
    mount --bind m second
    daemon=$(daemonOf m)
    cairn umount m 2>said
    grep -q "mounted elsewhere too" said
    echo x >second/file
    cairn umount second
    eventually isGone "$daemon"
}

test_plain_umount_works_too() {
    needsRoot
    mountRAM m
    daemon=$(daemonOf m)
    umount -i m
    eventually isGone "$daemon"
}

# A daemon takes its own mount away and no other that came to stand at the same path.
test_a_signal_spares_the_mount_that_came_after() {
    mountRAM m
    old=$(daemonOf m)
    exec 5<>m/file
    cairn umount -l m
    mountRAM m
    new=$(daemonOf m)
    echo new >m/file
    kill -TERM "$old"
    sleep 0.5
    [ "$(cat m/file)" = new ]
    isAlive "$new"
    isAlive "$old"
    exec 5>&-
    eventually isGone "$old"
    cairn umount m
}

# Neither if the old one still stands below the new one.
test_a_signal_spares_the_mount_that_lies_over_it() {
    # fusermount3 covers no mount of its user.
    needsRoot
    mountRAM m
    old=$(daemonOf m)
    mountRAM m
    echo new >m/file
    kill -TERM "$old"
    sleep 0.5
    [ "$(cat m/file)" = new ]
    cairn umount m
    isMounted "$work/m"
    echo old >m/file
    cairn umount m
    eventually isGone "$old"
}

# Whoever asks twice does not want to wait for what keeps the mount busy.
test_a_second_signal_ends_a_busy_daemon_at_once() {
    mountRAM m
    daemon=$(daemonOf m)
    number=$(connectionOf "$work/m")
    exec 5<>m/file
    kill -TERM "$daemon"
    eventually isNotMounted "$work/m"
    echo served >&5
    isAlive "$daemon"
    kill -TERM "$daemon"
    eventually isGone "$daemon"
    [ -z "$(ls "$(stateDirectory)" | grep "^$number-$daemon")" ]
    exec 5>&- || true
}

# Also where fusectl is not there to abort the connection with.
test_a_second_signal_needs_no_fusectl() {
    needsRoot
    mkdir m
    cat >inside <<EOF
set -e
umount /sys/fs/fuse/connections
touch ready
"$CAIRN" mount -t mfs_ram none m
echo x >m/file
exec 5<>m/file
"$CAIRN" stats --json m >stats
daemon=\$(python3 -c 'import json; print(json.load(open("stats"))["pid"])')
kill -TERM \$daemon
sleep 0.5
[ -e /proc/\$daemon ]
kill -TERM \$daemon
sleep 2
! grep -q '^State:.[^Z]' /proc/\$daemon/status
EOF
    if ! unshare --mount bash inside 2>errors; then
        [ -e ready ] || skip "no mount namespace here, or no fusectl in it"
        fail "$(cat errors)"
    fi
}

# What an ordinary user cannot take away stays, and he is told why, and what he can do.
test_a_user_is_told_why_a_mount_stays() {
    needsUser
    helper=$(command -v fusermount3)
    cat >inside <<EOF
set -e
setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_RUNTIME_DIR="$work/run" \
    "$CAIRN" mount -f -t mfs_ram none "$work/own/a/m" >output 2>said &
server=\$!
until grep -q Ctrl-C output; do sleep 0.1; done
eval "\$1"
kill -TERM \$server
until [ -s said ]; do sleep 0.1; done
cat said
echo "then:"
kill -TERM \$server
wait \$server || true
cat said
EOF
    cp "$helper" helper
    chmod 755 helper
    mkdir etc
    cp /etc/passwd etc/
    mkdir -p own/a/m
    chown 65534:65534 own/a own/a/m
    hinder() {
        : >output
        : >said
        timeout 30 unshare --mount bash inside "$1" >report
        sed -n '1,/^then:/p' report | grep -q "m: cannot be unmounted: .*$2"
        sed -n '1,/^then:/p' report | grep -q "root can do it.*a second signal ends it"
        sed -n '/^then:/,$p' report | grep -q "its mount stays there"
    }
    hinder "mount --bind helper $helper" "set-user-id"
    hinder "mount --bind etc /etc" "/etc/mtab has to be a link"
    hinder "mount --bind /bin/false $helper" "does not say why"
    hinder "chmod 700 $work/own/a; chown 0:0 $work/own/a" "may not be searched"
}

# A second signal does not touch the mount that came to stand there meanwhile.
test_a_second_signal_spares_the_mount_that_came_after() {
    mountRAM m
    old=$(daemonOf m)
    exec 5<>m/file
    cairn umount -l m
    mountRAM m
    echo new >m/file
    kill -TERM "$old"
    sleep 0.3
    kill -TERM "$old"
    eventually isGone "$old"
    [ "$(cat m/file)" = new ]
    exec 5>&- || true
    cairn umount m
}

# Status 0 means that the daemon is gone, also if it was mounted from another kind of session.
test_umount_finds_a_daemon_of_another_session() {
    needsUser
    asUser "$CAIRN" mount -t mfs_ram none own
    daemon=$(pgrep -u 65534 -nf __mount-daemon)
    asUser XDG_RUNTIME_DIR="$work/run" "$CAIRN" stats --json own | grep -q "\"pid\": $daemon"
    asUser XDG_RUNTIME_DIR="$work/run" "$CAIRN" umount own 2>said
    isGone "$daemon"
    [ ! -s said ]

    # Where it cannot be found, that is not kept quiet.
    asUser XDG_RUNTIME_DIR="$work/run" "$CAIRN" mount -t mfs_ram none own
    asUser "$CAIRN" umount own 2>said
    grep -q "may still be writing" said
}

# Root looks into directories of users, and believes and opens only what is theirs.
test_root_does_not_trust_what_others_could_have_written() {
    needsUser
    directory=/tmp/cairn-65534
    asUser "$CAIRN" mount -t mfs_ram none own
    daemon=$(pgrep -u 65534 -nf __mount-daemon)
    cairn stats --json own | grep -q "\"pid\": $daemon"
    chmod 777 "$directory"
    expectFailure 1 "has no control socket" cairn stats own
    chmod 700 "$directory"
    echo "nobody may read this" >secret
    chmod 600 secret
    number=$(connectionOf "$work/own")
    kill -KILL "$daemon"
    eventually isGone "$daemon"
    ln -sf "$work/secret" "$directory/$number-$daemon.log"
    cairn umount own 2>said
    if grep -q "nobody may" said; then fail "a symbolic link was followed"; fi
    grep -q "its daemon had died" said
    isNotMounted "$work/own"
}
