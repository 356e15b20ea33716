"""Damages images of mfs_disk at random, and sees that commands and mounts give answers.

    damage.py COMMAND DIRECTORY ROUNDS [SEED]

Half of the damage is put under checksums that are right, up to the superblock, with the help of the
reader that was written from the format's description (Tests/Format/reader.py).
"""

import errno
import os
import random
import resource
import shutil
import struct
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "Format"))
import reader  # noqa: E402

cairn, work, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
first_seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
# What a command may take: of the processor, and, where it waits for ever, at all.
SECONDS = 120
PATIENCE = 1800
MEMORY = 1 << 30
image, mount = os.path.join(work, "image"), os.path.join(work, "m")


class Image:
    """Both trees of an image in memory: where each node is, and where the pointer to it stands."""

    def __init__(self, path):
        self.data = bytearray(open(path, "rb").read())
        fd = os.open(path, os.O_RDONLY)
        self.block = reader.superblocks(fd, len(self.data))[0][0]
        os.close(fd)
        self.nodes = []  # (offset, level, tree, parent's index, offset of the pointer)
        for tree, root in enumerate(self.block.roots):
            self.walk(root.address * self.block.block, root.level, tree, None, 160 + 32 * tree)

    def walk(self, offset, level, tree, parent, pointer):
        own = len(self.nodes)
        self.nodes.append((offset, level, tree, parent, pointer))
        if level == 0:
            return
        for place, tail, _ in self.items(offset):
            at = offset + place + tail
            (address,) = struct.unpack_from("<Q", self.data, at)
            self.walk(address * self.block.block, level - 1, tree, own, at)

    def items(self, offset):
        (count,) = struct.unpack_from("<H", self.data, offset + 26)
        return [struct.unpack_from("<HHH", self.data, offset + 32 + 24 * index + 16)
                for index in range(count)]

    def seal(self, index):
        while True:
            offset, _, tree, parent, pointer = self.nodes[index]
            node = self.data[offset:offset + self.block.node]
            checksum = reader.crc32c(node[:4] + bytes(4) + node[8:], self.block.seed)
            struct.pack_into("<I", self.data, offset + 4, checksum)
            if parent is None:
                return self.seal_superblocks(lambda at: struct.pack_into(
                    "<I", self.data, at + 160 + 32 * tree + 16, checksum))
            struct.pack_into("<I", self.data, pointer + 16, checksum)
            index = parent

    def seal_superblocks(self, change):
        for slot in range(16):
            at = reader.SLOT * slot if slot < 8 else (
                self.block.end - reader.SET + reader.SLOT * (slot - 8))
            if struct.unpack_from("<Q", self.data, at + 16)[0] == self.block.group:
                change(at)
                head = self.data[at:at + 4096]
                struct.pack_into(
                    "<I", self.data, at + 4, reader.crc32c(head[:4] + bytes(4) + head[8:]))


def number(rng, image):
    return rng.choice((0, 2**64 - 1, 2**63 - 1, rng.randrange(300), 1 << rng.randrange(64),
                       image.block.total + rng.randrange(-2, 3), rng.getrandbits(64)))


def change(rng, image, start, length):
    width = min(rng.choice((1, 1, 2, 4, 8)), length)
    at = start + rng.randrange(length - width + 1)
    value = number(rng, image) & (1 << 8 * width) - 1
    image.data[at:at + width] = value.to_bytes(width, "little")
    return f"{width} bytes at {at} are {value:#x}"


def damage(rng, image):
    """What was done, in words."""
    way = rng.randrange(10)
    if way < 3:
        # As a device does it.
        story = []
        for _ in range(rng.randrange(1, 30)):
            offset = rng.choice(image.nodes)[0] if rng.random() < 0.7 else rng.choice(
                (0, image.block.log_start * image.block.block, image.block.end - reader.SET))
            start = offset + rng.randrange(image.block.node // 512) * 512
            length = rng.choice((1, 512, 4096))
            image.data[start:start + length] = rng.randbytes(length)
            story.append(f"{length} bytes at {start}")
        return "unsealed: " + ", ".join(story)
    if way == 3:
        story = []
        at = rng.randrange(8, 500 if rng.random() < 0.3 else 404)
        value = rng.randbytes(rng.choice((1, 4)))

        def put(slot):
            image.data[slot + at:slot + at + len(value)] = value
        image.seal_superblocks(put)
        return f"superblock: {value.hex()} at {at}"
    index = rng.randrange(len(image.nodes))
    offset = image.nodes[index][0]
    items = image.items(offset)
    if way == 4 or not items:
        story = change(rng, image, offset + 8, image.block.node - 8)
    else:
        item = rng.randrange(len(items))
        place, tail, value = items[item]
        if way == 5:
            story = change(rng, image, offset + 32 + 24 * item, 16)
        elif tail + value == 0:
            return "nothing"
        else:
            story = change(rng, image, offset + place + (tail if value else 0), value or tail)
    image.seal(index)
    return f"sealed, node at {offset}: {story}"


def limit():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def run(words, story, allowed, **options):
    """Ends in time, with one of these statuses, within bounded memory."""
    try:
        done = subprocess.run(words, timeout=PATIENCE, preexec_fn=limit, stdin=subprocess.DEVNULL,
                              capture_output=True, **options)
    except subprocess.TimeoutExpired:
        sys.exit(f"{story}: {' '.join(words)} takes more than {PATIENCE} s")
    if done.returncode not in allowed:
        keep(story, f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-600:]!r}")
    return done


def keep(story, what):
    place = os.path.join(os.environ.get("TMPDIR", "/tmp"), "cairn-soak-damage.img")
    shutil.copy(os.path.join(work, "damaged"), place)
    sys.exit(f"{story}: {what}; the image is kept as {place}")


def try_all(story):
    for part in ("superblocks", "tree", "extents", "free", "log"):
        run([cairn, "dump", image, part], story, (0, 1))
    run([cairn, "dump", "--map", image], story, (0, 1))
    checked = run([cairn, "fsck", "--data", image], story, (0, 4, 8)).returncode
    listed = run([cairn, "ls", "-R", "-o", "ro", image + ":/"], story, (0, 1)).returncode
    if checked == 0 and listed != 0:
        keep(story, "fsck finds nothing, and it cannot be listed")
    if run([cairn, "mount", image, mount], story, (0, 1)).returncode == 0:
        os.makedirs(mount, exist_ok=True)
        run(["timeout", "-s", "KILL", str(PATIENCE // 2), "sh", "-c",
             f"cd {mount} && ls -lR >/dev/null; find . -type f -size -100M -exec cat {{}} + "
             "| head -c 200000000 >/dev/null; getfattr -R -d . >/dev/null; "
             "echo x >written; mkdir made; rm -f written; rmdir made; df . "], story, range(0, 137))
        try:
            os.statvfs(mount)
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                keep(story, "the daemon died")
        run([cairn, "umount", mount], story, (0, 1))
        if os.path.ismount(mount):
            run(["umount", "-l", mount], story, (0,))
    shutil.copy(os.path.join(work, "damaged"), image)
    mended = run([cairn, "fsck", "--repair", image], story, (0, 1, 4, 8)).returncode
    if mended == 1:
        run([cairn, "fsck", image], story, (0,))
        run([cairn, "ls", "-R", image + ":/"], story, (0,))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    if peak > MEMORY:
        keep(story, f"a command had {peak >> 20} MiB")
    return checked


def fill(options):
    """A filesystem with each form that there is; killed at the end, with a log."""
    if os.path.exists(image):
        os.unlink(image)
    run([cairn, "mkfs", "--size", "24M", image], "mkfs", (0,))
    daemon = subprocess.Popen([cairn, "mount", "-f", "-o", options + ",commit=600000", image, mount],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not os.path.ismount(mount):
        if daemon.poll() is not None:
            sys.exit("no mount")
    run(["sh", "-ec", r"""
        cp -r /usr/include/linux/netfilter . && mkdir d && cd d
        for i in $(seq 300); do echo "file $i" >"name $i"; done
        head -c 900000 /dev/urandom >random; seq 200000 >text
        dd if=/dev/urandom of=text bs=1000 seek=70 count=20 conv=notrunc status=none
        truncate -s 1G sparse; echo x >>sparse; fallocate -l 300000 reserved
        for i in 1 2 3 4; do ln text hard$i; done; ln -s text soft; mkfifo fifo
        setfattr -n user.small -v x text
        setfattr -n user.large -v "$(head -c 9000 /dev/zero | tr '\0' z)" random
        sync -f .
        """], "fill", (0,), cwd=mount)
    held = os.open(os.path.join(mount, "d", "held"), os.O_CREAT | os.O_WRONLY)
    os.write(held, b"x" * 300_000)
    os.unlink(os.path.join(mount, "d", "held"))
    run(["sh", "-ec", "echo synced >d/synced; mv d/soft d/moved; sync d/synced"], "fill", (0,),
        cwd=mount)
    daemon.kill()
    daemon.wait()
    run(["umount", "-l", mount], "umount", (0,))
    try:
        os.close(held)
    except OSError:
        pass  # its server is dead


def main():
    os.makedirs(mount, exist_ok=True)
    counts = {}
    for number_of_round in range(rounds):
        seed = first_seed + number_of_round
        rng = random.Random(seed)
        if number_of_round % 100 == 0:
            fill(("compress=none", "compress=lz4", "compress=zstd")[number_of_round // 100 % 3])
            shutil.copy(image, os.path.join(work, "sound"))
            sound = Image(os.path.join(work, "sound"))
            whole = bytes(sound.data)
        sound.data[:] = whole
        story = f"seed {seed}: {damage(rng, sound)}"
        with open(os.path.join(work, "damaged"), "wb") as file:
            file.write(sound.data)
        shutil.copy(os.path.join(work, "damaged"), image)
        status = try_all(story)
        counts[status] = counts.get(status, 0) + 1
        if number_of_round % 50 == 49:
            print(f"{number_of_round + 1} images: fsck ended with {counts}", flush=True)
    print(f"{rounds} damaged images, none did harm; fsck ended with {counts}")


main()
