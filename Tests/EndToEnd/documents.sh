# What stands beside the command: help, man pages, completion.

subcommands() { cairn --help | sed -n 's/^  \([a-z]*\)   .*/\1/p'; }

test_every_command_has_help() {
    [ "$(cairn --version)" = "cairn $(sed -n 's/^let cairnVersion = "\(.*\)"/\1/p' \
        "$root/Sources/cairn-command/Cairn.swift")" ]
    for name in $(subcommands); do
        cairn "$name" --help | head -1 | grep -q "^usage: cairn $name"
        expectFailure 2 "unknown option '--no-such'" cairn "$name" --no-such
        cairn help "$name" >/dev/null
    done
    expectFailure 2 "unknown command 'nothing'" cairn nothing
    expectFailure 2 "unknown option '--nothing'" cairn --nothing
    expectFailure 2 "usage: cairn" cairn
}

test_man_pages_are_well_formed() {
    command -v groff >/dev/null || skip "needs groff"
    for page in "$root"/man/*.[18]; do
        target=$(sed -n '1s/^\.so man8\///p' "$page")
        if [ -n "$target" ]; then
            [ -e "$root/man/$target" ]
            continue
        fi
        groff -man -Tutf8 -ww -z "$page" 2>warnings
        [ ! -s warnings ] || fail "$(basename "$page"): $(cat warnings)"
    done
}

# Each command and each long option stands in a man page.
test_man_pages_are_complete() {
    cat "$root"/man/*.[18] | sed 's/\\-/-/g' >pages
    for name in $(subcommands); do
        grep -q "cairn $name" pages || fail "no page names cairn $name"
        cairn "$name" --help | grep '^  ' >lines
        for option in $(grep -o -- '--[a-z-]*' lines | sort -u); do
            grep -q -- "$option" pages || fail "no page names $option of cairn $name"
        done
    done
}

test_completion_offers_commands_options_and_types() {
    completions() {
        bash --norc -c '
            source "$1"
            shift
            COMP_WORDS=("$@")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _cairn
            printf "%s\n" "${COMPREPLY[@]}"' bash "$root/completions/cairn.bash" "$@"
    }
    PATH=$(dirname "$CAIRN"):$PATH
    completions cairn "" >offered
    for name in $(subcommands); do grep -qx "$name" offered; done
    [ "$(completions cairn um)" = umount ]
    [ "$(completions cairn mount -t mfs_r)" = mfs_ram ]
    [ "$(completions cairn stats --j)" = --json ]
    [ "$(completions cairn ls --rec)" = --recursive ]
}

# Setup stops, and says what to do, where the toolchain is missing or too old.
test_setup_says_which_swift_is_needed() {
    printf '#!/bin/sh\necho "Swift version %s (swift-RELEASE)"\n' 5.10.1 >old
    sed 's/5.10.1/6.2/' old >new
    sed 's/5.10.1/10.0/' old >newer
    chmod +x old new newer
    SWIFT=./new "$root/scripts/setup" build
    SWIFT=./newer "$root/scripts/setup" build
    SWIFT=./old expectFailure 1 "6.2 or newer is needed" "$root/scripts/setup" build
    grep -q "is 5.10" .errors
    SWIFT=./absent expectFailure 1 "is not there" "$root/scripts/setup" build
    grep -q "swift.org" .errors
}

test_install_puts_everything_in_place() {
    # Without a build: the command that is tested is the one that is installed.
    mkdir -p copy/.build/release place
    cp "$CAIRN" copy/.build/release/cairn
    cp -r "$root/Makefile" "$root/man" "$root/completions" copy/
    make -s -C copy -o build install DESTDIR="$work/place" PREFIX=/usr
    place/usr/bin/cairn --version
    for helper in mount.cairn mount.fuse.cairn mkfs.cairn fsck.cairn; do
        [ "$(readlink "place/sbin/$helper")" = /usr/bin/cairn ]
    done
    for page in man1/cairn.1 man8/cairn-mount.8 man8/mount.cairn.8 man8/cairn-umount.8 \
        man8/cairn-mkfs.8 man8/cairn-fsck.8 man8/fsck.cairn.8; do
        [ -s "place/usr/share/man/$page" ]
    done
    [ -s place/usr/share/bash-completion/completions/cairn ]
    make -s -C copy uninstall DESTDIR="$work/place" PREFIX=/usr
    [ -z "$(find place -type f -o -type l)" ]
}

# What the README shows as typed by a user works, one line after the other.
test_the_readme_is_true() {
    [ -d /usr/share/doc/bash ] || skip "needs /usr/share/doc/bash"
    sed -n 's/^\$ //p' "$root/README.md" | sed "s|/tmp/m|$work/m|g" >script
    grep -q "^cairn mount .*--at" script
    PATH=$(dirname "$CAIRN"):$PATH bash -ex script >output 2>trace || fail "$(tail -n 5 trace)"
    printf '%s\n' "$work/m" '└── bash' '' '1 directory, 0 files' | diff - <(head -n 4 output)
    grep -q "^none /scratch mfs_ram .*size=65536k" output
    cairn umount m
}
