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
        for option in $(cairn "$name" --help | grep -o -- '^  .*' | grep -o -- '--[a-z-]*' | sort -u); do
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
    [ "$(completions cairn mount -t mfs)" = mfs_ram ]
    [ "$(completions cairn stats --j)" = --json ]
    [ "$(completions cairn ls --rec)" = --recursive ]
}
