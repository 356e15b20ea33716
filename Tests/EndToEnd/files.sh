# The file commands, on the host, on a mount and without one.

test_cp_keeps_what_a_tree_is_made_of() {
    mountRAM m
    mkdir -p tree/deep/er
    echo text >tree/deep/file
    ln tree/deep/file tree/hard
    ln -s deep/file tree/soft
    ln -s nowhere tree/dangling
    mkfifo tree/fifo
    chmod 2750 tree/deep
    chmod 4711 tree/deep/er
    touch -d '2011-11-11 11:11:11.5Z' tree/deep/file tree/deep
    truncate -s 100M tree/sparse
    printf data | dd of=tree/sparse bs=1 seek=50000000 conv=notrunc status=none
    cairn cp -a tree m/
    cairn cp -a m/tree back
    for copy in m/tree back; do
        diff -r --no-dereference --exclude=fifo tree "$copy"
        [ "$(cd tree && find . -printf '%p %M %n %T@ %l\n' | grep -v '^\. ' | sort)" = \
            "$(cd "$copy" && find . -printf '%p %M %n %T@ %l\n' | grep -v '^\. ' | sort)" ]
        [ "$(du -k "$copy/sparse" | cut -f1)" -lt 1024 ]
        [ -p "$copy/fifo" ]
    done
    expectFailure 1 "into itself" cairn cp -r tree tree/inside
    expectFailure 1 "the same file" cairn cp tree/hard tree/deep/file
    expectFailure 1 "-r copies it" cairn cp tree elsewhere
}

test_mv_rm_mkdir_ln_touch() {
    mountRAM m
    cd m
    cairn mkdir -p a/b/c
    cairn mkdir -m 700 private
    [ "$(stat -c %a private)" = 700 ]
    expectFailure 1 "File exists" cairn mkdir a
    cairn touch -d '2020-01-02 03:04:05Z' a/file
    [ "$(stat -c %Y a/file)" = 1577934245 ]
    cairn mv a/file a/b
    [ -e a/b/file ]
    cairn mv a/b/file ../outside
    [ -e ../outside ] && [ ! -e a/b/file ]
    cairn mv ../outside a
    cairn ln a/outside a/second
    [ "$(stat -c %h a/second)" = 2 ]
    cairn ln -s second a/soft
    expectFailure 1 "File exists" cairn ln -s other a/soft
    cairn ln -sf other a/soft
    [ "$(readlink a/soft)" = other ]
    expectFailure 1 "Is a directory" cairn rm a
    cairn rm -r a private
    [ -z "$(ls -A)" ]
    expectFailure 1 "No such file" cairn rm gone
    cairn rm -f gone
    expectFailure 1 "refusing" cairn rm -r .
    # A link to a directory is removed, not what it leads to.
    mkdir "$work/kept"
    touch "$work/kept/file"
    ln -s "$work/kept" link
    cairn rm -r link
    [ -e "$work/kept/file" ]
}

# Across filesystems mv is a copy; if it fails, nothing is lost and nothing is left.
test_mv_across_filesystems_is_all_or_nothing() {
    mountRAM m -o size=1M
    head -c 3M /dev/urandom >big
    echo old >m/big
    expectFailure 1 "No space left" cairn mv big m/
    [ "$(stat -c %s big)" = 3145728 ]
    [ "$(cat m/big)" = old ]
    [ "$(ls -A m)" = big ]
    mkdir -p tree/deep m/tree/full
    echo x >tree/deep/file
    expectFailure 1 "not empty" cairn mv -f tree m/
    [ -e tree/deep/file ]
    rmdir m/tree/full
    cairn mv tree m/
    [ "$(cat m/tree/deep/file)" = x ]
    [ ! -e tree ]
}

test_ls_tree_cat_stat_show_what_is_there() {
    mountRAM m
    mkdir m/directory
    echo 12345 >m/directory/file
    touch m/.hidden
    [ "$(cairn ls m)" = directory ]
    [ "$(cairn ls -a m)" = "$(printf '.hidden\ndirectory')" ]
    cairn ls -l m/directory | grep -Eq '^-rw-r--r-- 1 .* 6 .* file$'
    [ "$(cairn cat m/directory/file)" = 12345 ]
    cairn tree m | tail -1 | grep -qx '1 directory, 1 file'
    cairn stat m/directory/file | grep -q 'Size: 6 '
    cairn ls -R --json m | python3 -c '
import json, sys
files = {f["path"]: f for f in json.load(sys.stdin)}
assert files["m/directory/file"]["sizeBytes"] == 6, files'
    cairn stat --json m/directory/file | python3 -c '
import json, os, sys
[file] = json.load(sys.stdin)
assert file["inode"] == os.stat("m/directory/file").st_ino'
    expectFailure 1 "m/missing: No such file or directory" cairn cat m/missing
}

test_output_that_cannot_be_written_is_a_failure() {
    [ -w /dev/full ] || skip "no /dev/full"
    status=0
    cairn ls / >/dev/full 2>errors || status=$?
    [ "$status" = 1 ]
    grep -q "standard output: No space left" errors
}

# Control characters in names must not reach a terminal.
test_names_do_no_harm_to_a_terminal() {
    command -v script >/dev/null || skip "needs script(1)"
    mkdir d
    touch "$(printf 'd/bad\033[31mname')"
    script -qec "$CAIRN ls d" /dev/null >output
    grep -qF 'bad?[31mname' output
}

test_df_shows_mounts_of_cairn() {
    mountRAM m -o size=16M
    head -c 8M /dev/zero >m/half
    sync m/half
    cairn df -h m | tail -1 | grep -Eq "^mfs_ram +16M +8\.[0-9]M +[78](\.[0-9])?M +5[0-9]% $work/m$"
    cairn df | grep -q " $work/m$"
    cairn df --json m | python3 -c '
import json, sys
[row] = json.load(sys.stdin)
assert row["totalBytes"] == 16 << 20, row
assert row["usedBytes"] >= 8 << 20, row'
}

# Without a mount: SOURCE:/path is opened by its type.
test_a_source_is_opened_without_a_mount() {
    [ -z "$(cairn ls -t mfs_ram none:/)" ]
    cairn mkdir -t mfs_ram none:/a none:/a/b
    cairn cp -t mfs_ram -r "$root/docs" none:/
    expectFailure 1 "none:/missing: No such file" cairn stat -t mfs_ram none:/missing
    expectFailure 1 "name it with -t" cairn ls none:/
    expectFailure 1 "option bogus" cairn ls -t mfs_ram -o bogus none:/
    expectFailure 1 "No space left" cairn cp -t mfs_ram -o size=64K /bin/bash none:/bash
}

test_bench_measures_and_cleans_up() {
    mountRAM m
    cairn bench --files 50 --size 2M --json m | python3 -c '
import json, sys
report = json.load(sys.stdin)
names = {o["name"]: o for o in report["operations"]}
assert names["stat"]["count"] == 50
assert all(o["p50Nanoseconds"] <= o["maximumNanoseconds"] for o in names.values())'
    [ -z "$(ls -A m)" ]
    cairn bench --files 50 --size 2M | grep -q "the library on mfs_ram"
}
