"""Writes below a mount, syncs, and notes what was synced outside of it; or checks that it is there.

    witness.py run PLACE JOURNAL SEED       until it is killed, or the mount is
    witness.py check PLACE JOURNAL
"""

import hashlib
import os
import random
import sqlite3
import sys


def note(journal, *words):
    """Once this returned, the fact is to survive."""
    os.write(journal, (" ".join(map(str, words)) + "\n").encode())


def write_synced(place, journal, rng, name):
    data = rng.randbytes(rng.choice((0, 10, 3000, 5000, 70_000, 600_000)))
    if rng.random() < 0.5:
        data = (b"text %d " % rng.randrange(9)) * (len(data) // 7)
    path = os.path.join(place, name)
    way = rng.randrange(4)
    if way == 0:
        # A new file.
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
    elif way == 1:
        # Written elsewhere, then renamed over what is there, then synced by its directory.
        open(path, "wb").close()
        with open(path + ".new", "wb") as file:
            file.write(data)
        os.rename(path + ".new", path)
        directory = os.open(place, os.O_DIRECTORY)
        os.fsync(directory)
        os.close(directory)
    elif way == 2:
        # In parts, the middle overwritten after a first sync.
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
        os.write(descriptor, b"\xaa" * len(data))
        os.fsync(descriptor)
        for start in range(0, len(data), 50_000):
            os.pwrite(descriptor, data[start:start + 50_000], start)
        os.fdatasync(descriptor)
        os.close(descriptor)
    else:
        # Each write synced by itself.
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DSYNC)
        for start in range(0, max(len(data), 1), 200_000):
            os.write(descriptor, data[start:start + 200_000])
        if not data:
            os.fsync(descriptor)
        os.close(descriptor)
    note(journal, "file", name, hashlib.sha256(data).hexdigest())


def run(place, journal, seed):
    rng = random.Random(seed)
    journal = os.open(journal, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    database = sqlite3.connect(os.path.join(place, f"base{seed}"), isolation_level=None)
    mode = rng.choice(("DELETE", "WAL"))
    database.execute(f"PRAGMA journal_mode={mode}")
    # FULL does not sync the end of a transaction in DELETE mode.
    database.execute("PRAGMA synchronous=EXTRA")
    database.execute("CREATE TABLE facts (number INTEGER PRIMARY KEY, text)")
    note(journal, "base", f"base{seed}", 0)
    number = 0
    while True:
        number += 1
        name = f"{seed}.{number}"
        write_synced(place, journal, rng, name)
        if rng.random() < 0.3:
            # Removed, and synced.
            note(journal, "going", name)
            os.unlink(os.path.join(place, name))
            directory = os.open(place, os.O_DIRECTORY)
            os.fsync(directory)
            os.close(directory)
            note(journal, "gone", name)
        database.execute("INSERT INTO facts VALUES (?, ?)", (number, "x" * rng.randrange(3000)))
        note(journal, "base", f"base{seed}", number)


def check(place, journal):
    # Of a file that was going when all ended, nobody knows whether it went.
    files, going, bases = {}, set(), {}
    with open(journal) as lines:
        for line in lines:
            kind, name, fact = (line.split() + [""])[:3]
            if kind == "base":
                bases[name] = int(fact)
            elif kind == "going":
                going.add(name)
            else:
                files[name] = fact
    for name, digest in files.items():
        path = os.path.join(place, name)
        if not digest:
            if os.path.exists(path):
                sys.exit(f"{name} was removed, and is there")
            continue
        if not os.path.exists(path):
            if name in going:
                continue
            sys.exit(f"{name} was synced, and is not there")
        with open(path, "rb") as file:
            if hashlib.sha256(file.read()).hexdigest() != digest:
                sys.exit(f"{name} has other bytes than were synced")
    for name, count in bases.items():
        database = sqlite3.connect(os.path.join(place, name))
        if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            sys.exit(f"{name}: the database is broken")
        (found,) = database.execute("SELECT count(*) FROM facts").fetchone()
        if not count <= found <= count + 1:
            sys.exit(f"{name}: {found} rows, {count} were committed")
        database.close()
    print(len(files), "files and", len(bases), "databases are there")


if sys.argv[1] == "run":
    run(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    check(sys.argv[2], sys.argv[3])
