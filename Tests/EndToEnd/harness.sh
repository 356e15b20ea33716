# Runs one end-to-end test: `bash harness.sh FILE FUNCTION`. CAIRN is the command under test.
#
# A test is a function test_… in one of the files beside this one, with the requirement or the
# promise that it proves above it. It runs alone, in a directory of its own ($work), with `set -e`:
# the first command that fails fails the test. Whatever it leaves mounted is taken away after it.
# Status 77: the machine cannot run this test, and the last line says why.

set -euo pipefail

: "${CAIRN:?the command under test}"
file=$1
function=$2
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/cairn-test.XXXXXX")
export LC_ALL=C.UTF-8

cleanUp() {
    cd /
    # The deepest and newest first. A mount that stays would make rm dangerous.
    awk -v top="$work" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo | tac |
        while read -r place; do
            umount -l "$place" 2>/dev/null || fusermount3 -uz "$place" 2>/dev/null || true
        done
    if ! grep -qF " $work" /proc/self/mountinfo; then
        rm -rf --one-file-system "$work"
    fi
}
trap cleanUp EXIT

# -- What tests use ------------------------------------------------------------------------

cairn() { "$CAIRN" "$@"; }

skip() { echo "$*"; exit 77; }

fail() { echo "failed: $*" >&2; return 1; }

# Mounts mfs_ram at $work/NAME with further words for `cairn mount`.
mountRAM() {
    local name=$1
    shift
    mkdir -p "$work/$name"
    cairn mount -t mfs_ram "$@" none "$work/$name"
}

# expectFailure STATUS TEXT COMMAND…: it ends with this status and says this on standard error.
expectFailure() {
    local wanted=$1 text=$2 status=0
    shift 2
    "$@" >"$work/.output" 2>"$work/.errors" || status=$?
    [ "$status" = "$wanted" ] ||
        fail "'$*' ended with $status, not $wanted: $(cat "$work/.errors")"
    grep -qF -- "$text" "$work/.errors" ||
        fail "'$*' did not say '$text' but: $(cat "$work/.errors")"
}

isMounted() {
    awk -v place="$1" '$5 == place { found = 1 } END { exit !found }' /proc/self/mountinfo
}

isNotMounted() { ! isMounted "$1"; }

# The process that serves a mount.
daemonOf() {
    cairn stats --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])'
}

# The number of a mount's FUSE connection.
connectionOf() {
    awk -v place="$1" '$5 == place { split($3, n, ":"); print n[2] }' /proc/self/mountinfo | tail -1
}

# Where the command keeps what it knows of mounts.
stateDirectory() {
    if [ "$(id -u)" = 0 ]; then
        echo /run/cairn
    elif [ -n "${XDG_RUNTIME_DIR:-}" ]; then
        echo "$XDG_RUNTIME_DIR/cairn"
    else
        echo "/tmp/cairn-$(id -u)"
    fi
}

# A process that ended and that nobody has asked for yet (a zombie) is gone too, but not while other
# threads of it still close its files.
isGone() {
    [ ! -e "/proc/$1" ] || {
        grep -q '^State:.Z' "/proc/$1/status" && [ "$(ls "/proc/$1/task" | wc -l)" -le 1 ]
    } 2>/dev/null
}

# Not `! isGone`: the shell's `set -e` overlooks what has a `!` before it.
isAlive() { ! isGone "$1"; }

# Tries a command ten times a second, for ten seconds at most.
eventually() {
    local _
    for _ in $(seq 100); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    fail "not even after 10 s: $*"
}

needsRoot() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# Commands as a user without rights: `asUser [NAME=VALUE…] COMMAND…`.
asUser() {
    setpriv --reuid=65534 --regid=65534 --clear-groups env -u XDG_RUNTIME_DIR "$@"
}

# Skips unless a user without rights can mount here. Where /dev/fuse is for root only, the test begins
# again where nobody else sees its mounts, with a device for all.
needsUser() {
    needsRoot
    command -v setpriv >/dev/null || skip "needs setpriv"
    chmod 755 "$work"
    if [ -n "${hasOwnMounts:-}" ]; then
        mkdir devices
        mount -t tmpfs -o mode=755 devices devices
        mknod -m 666 devices/fuse c 10 229
        mount --bind devices/fuse /dev/fuse
    elif ! asUser test -w /dev/fuse; then
        unshare --mount true 2>/dev/null || skip "/dev/fuse is for root only here"
        cleanUp
        hasOwnMounts=1 exec unshare --mount bash "$here/harness.sh" "$file" "$function"
    fi
    [ -e /etc/mtab ] || skip "fusermount3 needs /etc/mtab"
    asUser test -x "$CAIRN" || skip "the command lies where only root can reach it"
    mkdir own run
    chown 65534:65534 own run
}

# shellcheck source=/dev/null
source "$here/$file"
cd "$work"
"$function"
