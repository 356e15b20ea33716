"""Fills the filesystem at argv[1], of 64 MiB, in several ways; argv[2] seeds what is written.

A third word, `disk`, says that it is on a disk: it has less room for files, overwriting may want some
more, and what was freed can be had after a commit.
"""

import errno
import os
import random
import shutil
import sys
import time

place = sys.argv[1]
seed = int(sys.argv[2])
is_disk = sys.argv[3:] == ["disk"]
full = (errno.ENOSPC, errno.EDQUOT)


def path(*parts):
    return os.path.join(place, *parts)


def free():
    found = os.statvfs(place)
    return found.f_bfree * found.f_frsize, found.f_bavail * found.f_frsize, found.f_ffree


def expect(truth, text):
    if not truth:
        sys.exit(f"seed {seed}: {text}")


def one_big_file():
    chunk = random.Random(seed).randbytes(1 << 20)
    written = 0
    descriptor = os.open(path("big"), os.O_CREAT | os.O_RDWR)
    while True:
        try:
            written += os.write(descriptor, chunk[written % len(chunk):])
        except OSError as error:
            expect(error.errno in full, f"write: {error}")
            break
        expect(written <= 64 << 20, "more was taken than there is room")
    least = 50 << 20 if is_disk else 56 << 20
    expect(written > least, f"full after {written} bytes of 64 MiB")
    expect(os.fstat(descriptor).st_size == written, "the size is not what was written")
    os.fsync(descriptor)
    # What is there can be written over, and nothing that was taken is lost.
    try:
        expect(os.pwrite(descriptor, chunk[:4096], 0) == 4096, "old data was not written over")
        os.fsync(descriptor)
    except OSError as error:
        expect(is_disk and error.errno in full, f"no room to write over old data: {error}")
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    for start in range(0, written, len(chunk)):
        wanted = chunk[:min(len(chunk), written - start)]
        expect(os.pread(descriptor, len(chunk), start) == wanted, f"wrong bytes at {start}")
    try:
        os.posix_fallocate(descriptor, 0, 128 << 20)
        expect(False, "128 MiB were allocated in 64 MiB")
    except OSError as error:
        expect(error.errno in full, f"fallocate: {error}")
    os.close(descriptor)
    os.unlink(path("big"))


def many_small_files():
    made = 0
    os.mkdir(path("small"))
    try:
        while True:
            if made % 500 == 0:
                os.mkdir(path("small", str(made)))
            name = path("small", str(made // 500 * 500), str(made))
            with open(name, "wb", buffering=0) as file:
                expect(file.write(b"%d\n" % made * 200) > 0, "nothing was written")
            made += 1
            expect(made < 1_000_000, "a million files fit into 64 MiB")
    except OSError as error:
        expect(error.errno in full, f"file {made}: {error}")
    expect(made > 1000, f"full after {made} files")
    for number in random.Random(seed).sample(range(made), 1000):
        with open(path("small", str(number // 500 * 500), str(number)), "rb") as file:
            expect(file.read() == b"%d\n" % number * 200, f"file {number} is wrong")
    shutil.rmtree(path("small"))


def names_only():
    made = 0
    os.mkdir(path("names"))
    try:
        while made < 2_000_000:
            os.symlink("t" * 1000, path("names", f"{made:0200d}"))
            made += 1
    except OSError as error:
        expect(error.errno in full, f"symlink {made}: {error}")
    expect(made < 2_000_000, "symlinks are free")
    os.rename(path("names"), path("renamed"))
    shutil.rmtree(path("renamed"))


def attributes():
    made = 0
    value = random.Random(seed).randbytes(60000)
    os.mkdir(path("attributes"))
    try:
        while made < 10_000:
            name = path("attributes", str(made // 10))
            if made % 10 == 0:
                os.mknod(name)
            os.setxattr(name, f"user.{made}", value)
            made += 1
    except OSError as error:
        expect(error.errno in full, f"attribute {made}: {error}")
    expect(made < 10_000, "600 MB of attributes fit into 64 MiB")
    expect(os.getxattr(path("attributes", "0"), "user.3") == value, "an attribute is wrong")
    shutil.rmtree(path("attributes"))


def open_but_unlinked():
    descriptor = os.open(path("gone"), os.O_CREAT | os.O_RDWR)
    os.unlink(path("gone"))
    try:
        while True:
            os.write(descriptor, b"x" * (1 << 20))
    except OSError as error:
        expect(error.errno in full, f"write: {error}")
    expect(os.pread(descriptor, 1, 50 << 20) == b"x", "the file is not there")
    os.close(descriptor)


def emptied(before):
    if is_disk:
        os.sync()
    return free() == before


for fill in (one_big_file, many_small_files, names_only, attributes, open_but_unlinked):
    emptied(None)
    before = free()
    fill()
    # The kernel tells of a file that nobody uses any more when it gets to it.
    for _ in range(100):
        if emptied(before):
            break
        time.sleep(0.1)
    expect(free() == before, f"{fill.__name__}: free before {before}, after {free()}")
    print(f"seed {seed}: {fill.__name__}: full, emptied, {before[0]} bytes free as before",
          flush=True)
