# Completion of cairn for bash. Commands, options and types come from `cairn --help` itself, so
# that they are never out of date.

_cairn_words() {
    "${COMP_WORDS[0]}" "$@" --help 2>/dev/null
}

_cairn() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=
    [ "$COMP_CWORD" -lt 1 ] || previous=${COMP_WORDS[COMP_CWORD - 1]}
    local words=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        words="$(_cairn_words | sed -n 's/^  \([a-z]*\)   .*/\1/p') --help --version"
    elif [[ $previous == -t || $previous == --type ]]; then
        words=$(_cairn_words mount | sed -n '/^Types:/,$s/^  \([a-z_0-9]*\) .*/\1/p')
    elif [[ $previous == -o || $previous == --options ]]; then
        words="ro rw noatime relatime strictatime nodiratime sync nosuid nodev noexec allow_other
            writeback nowriteback idle_poll= transport=auto transport=device transport=io_uring threads=
            compress=none compress=lz4 compress=zstd checksums=on checksums=off cow=on cow=off trim=on
            trim=off commit= cache= dirty_limit= size="
    elif [[ $current == -* ]]; then
        words=$(_cairn_words "${COMP_WORDS[1]}" | grep -o '^  -.*' | cut -c1-30 |
            grep -o -e '--[a-z-]*' -e '-[a-zA-Z0-9]\b')
    else
        # Files; directories alone where only they make sense.
        local kind=-f
        case ${COMP_WORDS[1]} in umount | stats | bench) kind=-d ;; esac
        local IFS=$'\n'
        mapfile -t COMPREPLY < <(compgen "$kind" -- "$current")
        compopt -o filenames 2>/dev/null
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _cairn cairn
