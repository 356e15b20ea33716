#!/usr/bin/env python3
"""A reader of mfs_disk, written from docs/format.md alone: section numbers below are its.

    reader.py IMAGE list            a line for each file: mode, links, owners, size, inode, path
    reader.py IMAGE extract DIR     files, directories, links and times, below DIR
    reader.py IMAGE attributes      a line for each extended attribute: path, name, value in hex
    reader.py IMAGE check           reads everything, and compares free space, counters and links

It trusts nothing: what the document does not allow ends it with one line and status 1. It is slow
and simple on purpose, and holds the records of the image in memory.
"""

import bisect
import ctypes
import os
import stat
import struct
import sys

SLOT, SET, MINIMUM, UNIT = 16384, 131072, 4 << 20, 65536
INODE, ORPHAN, ATTRIBUTE, EXTENT, ENTRY = 0x01, 0x02, 0x10, 0x20, 0x30
ROOT = 1


class Damage(Exception):
    """What the document does not allow."""


def need(condition, what):
    if not condition:
        raise Damage(what)


def zero(data, what):
    need(not any(data), what + ": reserved bytes are not zero")


# -- 1. Conventions ------------------------------------------------------------------------

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data, crc=0):
    """Continues `crc` over `data`."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def siphash(key, data):
    """SipHash-2-4."""
    mask = 2**64 - 1
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261,
         k1 ^ 0x7465646279746573]

    def rotate(x, n):
        return (x << n | x >> 64 - n) & mask

    def rounds(n):
        for _ in range(n):
            v[0] = v[0] + v[1] & mask
            v[1] = rotate(v[1], 13) ^ v[0]
            v[0] = rotate(v[0], 32)
            v[2] = v[2] + v[3] & mask
            v[3] = rotate(v[3], 16) ^ v[2]
            v[0] = v[0] + v[3] & mask
            v[3] = rotate(v[3], 21) ^ v[0]
            v[2] = v[2] + v[1] & mask
            v[1] = rotate(v[1], 17) ^ v[2]
            v[2] = rotate(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


# The example of the paper: key 00…0f, message 00…0e.
assert siphash(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


def library(name):
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise Damage(f"compressed data needs {name}: {error}") from error


def decompress(kind, data, whole):
    target = ctypes.create_string_buffer(whole)
    if kind == 1:
        count = library("liblz4.so.1").LZ4_decompress_safe(data, target, len(data), whole)
    else:
        call = library("libzstd.so.1").ZSTD_decompress
        call.restype = ctypes.c_size_t
        call.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
        count = call(target, whole, data, len(data))
    need(count == whole, f"{count} bytes come out of compressed data, not {whole}")
    return target.raw


# -- 2, 3. The device and its superblocks --------------------------------------------------


class Pointer:
    """A node pointer (4), of a root with its level (3)."""

    def __init__(self, data, level, what):
        self.address, self.birth, self.checksum, reserved = struct.unpack_from("<QQII", data)
        self.level = level
        need(reserved == 0, what + ": reserved bytes are not zero")


class Superblock:
    def __init__(self, data, slot):
        what = f"slot {slot}"
        first = data[:4096]
        field = struct.unpack_from
        magic, checksum, version, number, self.group = field("<IIIIQ", first)
        need(magic == 0x4D465344, f"{what}: magic {magic:#x}")
        need(checksum == crc32c(first[:4] + bytes(4) + first[8:]), what + ": checksum")
        need(version == 1, f"{what}: version {version}")
        need(number == slot, f"{what}: written to slot {number}")
        need(self.group >= 1, what + ": group 0")
        self.uuid = first[24:40]
        self.label = first[40:104].rstrip(b"\0").decode()
        _, self.ro_compatible, self.incompatible = field("<QQQ", first, 104)
        need(self.incompatible == 0, f"{what}: incompatible features {self.incompatible:#x}")
        self.block, self.node, self.total, self.free, self.region, self.state = field(
            "<IIQQII", first, 128)
        need(self.block in (4096, 8192, 16384), f"{what}: block size {self.block}")
        need(self.node in (4096, 8192, 16384, 32768) and self.node >= self.block,
             f"{what}: node size {self.node}")
        self.end = self.total * self.block
        need(self.total < 2**48 and self.end >= MINIMUM and self.end % UNIT == 0,
             f"{what}: {self.total} blocks")
        need(self.free <= self.total, f"{what}: {self.free} free blocks")
        need(64 <= self.region <= 32768 and self.region & self.region - 1 == 0,
             f"{what}: regions of {self.region} blocks")
        need(self.state & ~3 == 0, f"{what}: state {self.state:#x}")
        self.roots = []
        for offset in (160, 192):
            root = Pointer(first[offset:], first[offset + 24], what)
            zero(first[offset + 25:offset + 32], what)
            need(root.level < 16, f"{what}: root at level {root.level}")
            self.roots.append(root)
        zero(first[224:288], what)
        self.nodes = field("<QQ", first, 288)
        (self.data_blocks, self.log_start, self.log_blocks, self.log_position, self.log_sequence,
         self.next_inode) = field("<QQQQQQ", first, 304)
        self.name_key = first[352:368]
        for offset in (368, 380, 392):
            need(field("<I", first, offset + 8)[0] < 10**9, what + ": nanoseconds")
        zero(first[408:], what)
        zero(data[4096:], what)
        log_end = self.log_start + self.log_blocks
        need(self.log_start >= SET // self.block and log_end <= self.total - SET // self.block,
             what + ": the log's place")
        need(self.log_position <= self.log_blocks, what + ": the log's position")
        self.first_node, self.last_node = log_end, self.total - SET // self.block
        for root in self.roots:
            need(self.first_node <= root.address < self.last_node, what + ": a root's place")
        self.seed = crc32c(self.uuid)


def superblocks(image, size):
    """Those that count, the newest first; then what was said of the others."""
    end = size // UNIT * UNIT
    need(end >= MINIMUM, "smaller than 4 MiB")
    sets, notes = [[], []], []

    def take(slot, place):
        data = os.pread(image, SLOT, place)
        if not any(data):
            return
        try:
            sets[slot // 8].append(Superblock(data, slot))
        except Damage as damage:
            notes.append(str(damage))

    for slot in range(8):
        take(slot, SLOT * slot)
    # The first set says where the second one is.
    if sets[0]:
        end = max(sets[0], key=lambda block: block.group).end
    for slot in range(8):
        take(8 + slot, end - SET + SLOT * slot)
    found = sets[0] + sets[1]
    need(found, "no superblock is valid" + "".join("; " + note for note in notes))
    if sets[0]:
        uuid = max(sets[0], key=lambda block: block.group).uuid
        found = [block for block in found if block.uuid == uuid]
    found.sort(key=lambda block: -block.group)
    return found, notes


# -- 4. Trees ------------------------------------------------------------------------------


class Tree:
    """All items of a tree in order, and the blocks of its nodes."""

    def __init__(self, filesystem, number):
        self.fs, self.number = filesystem, number
        self.keys, self.values, self.nodes = [], [], []
        self.walk(filesystem.block.roots[number - 1], None, None, True)
        need(len(self.nodes) == filesystem.block.nodes[number - 1],
             f"tree {number}: {len(self.nodes)} nodes, {filesystem.block.nodes[number - 1]} counted")

    def walk(self, pointer, low, high, is_root):
        block = self.fs.block
        what = f"node at block {pointer.address}"
        unit = block.node // block.block
        need(pointer.address % unit == 0, what + ": not at a node's place")
        need(block.first_node <= pointer.address and pointer.address + unit <= block.last_node,
             what + ": outside the place for nodes")
        self.nodes.append(pointer.address)
        node = self.fs.read(pointer.address * block.block, block.node)
        (magic, checksum, address, birth, level, tree, count, content,
         reserved) = struct.unpack_from("<IIQQBBHHH", node)
        need(magic == 0x4D464E31, f"{what}: magic {magic:#x}")
        actual = crc32c(node[:4] + bytes(4) + node[8:], block.seed)
        need(checksum == actual, f"{what}: checksum {checksum:#x}, it is {actual:#x}")
        need(checksum == pointer.checksum, what + ": not the node that its parent means")
        need(address == pointer.address, f"{what}: says that it is at {address}")
        need(birth == pointer.birth and birth <= block.group, what + ": birth")
        need(level == pointer.level, f"{what}: level {level}, not {pointer.level}")
        need(tree == self.number, f"{what}: of tree {tree}")
        need(reserved == 0, what + ": reserved bytes are not zero")
        need(count > 0 or is_root and level == 0, what + ": no items")
        keys, values, end = [], [], block.node
        for index in range(count):
            object, number, place, tail, value, reserved = struct.unpack_from(
                "<QQHHHH", node, 32 + 24 * index)
            need(reserved == 0, what + ": reserved bytes are not zero")
            need(place + tail + value == end and place >= 32 + 24 * count, what + ": places")
            need(level > 0 or 24 + tail + value <= (block.node - 32) // 4, what + ": a large item")
            end = place
            keys.append((object, number, node[place:place + tail]))
            values.append(node[place + tail:place + tail + value])
        need(content == end, what + ": content")
        zero(node[32 + 24 * count:content], what)
        for first, second in zip(keys, keys[1:]):
            need(first < second, what + ": keys out of order")
        bounded = keys if level == 0 else keys[1:]
        for key in bounded:
            need((low is None or key >= low) and (high is None or key < high),
                 what + ": a key outside its parent's bounds")
        if level == 0:
            self.keys += keys
            self.values += values
            return
        for index, value in enumerate(values):
            need(len(value) == 24, what + ": a pointer's length")
            child = Pointer(value, level - 1, what)
            self.walk(child, keys[index] if index else low,
                      keys[index + 1] if index + 1 < count else high, False)

    def range(self, low, high):
        for index in range(bisect.bisect_left(self.keys, low), bisect.bisect_left(self.keys, high)):
            yield self.keys[index], self.values[index]

    def get(self, key):
        index = bisect.bisect_left(self.keys, key)
        return self.values[index] if index < len(self.keys) and self.keys[index] == key else None

    def put(self, key, value):
        index = bisect.bisect_left(self.keys, key)
        if index < len(self.keys) and self.keys[index] == key:
            self.values[index] = value
        else:
            self.keys.insert(index, key)
            self.values.insert(index, value)

    def remove(self, key):
        index = bisect.bisect_left(self.keys, key)
        need(index < len(self.keys) and self.keys[index] == key, f"the log removes {key}, not there")
        del self.keys[index], self.values[index]


# -- 5. The records of the main tree -------------------------------------------------------


class Inode:
    def __init__(self, number, data):
        what = f"inode {number}"
        need(len(data) == 104, f"{what}: a record of {len(data)} bytes")
        self.number = number
        (self.mode, self.owner, self.users, self.links, self.size, self.blocks, self.special,
         self.birth) = struct.unpack_from("<IIIIQQQQ", data)
        self.seconds = struct.unpack_from("<qqqq", data, 48)
        self.nanoseconds = struct.unpack_from("<IIII", data, 80)
        need(all(part < 10**9 for part in self.nanoseconds), what + ": nanoseconds")
        self.flags, reserved = struct.unpack_from("<II", data, 96)
        need(reserved == 0 and self.flags & ~0xFF7F == 0 and self.flags >> 8 <= 3,
             f"{what}: flags {self.flags:#x}")
        need(stat.S_IFMT(self.mode) in (0o010000, 0o020000, 0o040000, 0o060000, 0o100000, 0o120000,
                                        0o140000) and self.mode < 0o200000,
             f"{what}: mode {self.mode:o}")
        need(self.size < 2**63, f"{what}: size")
        self.is_directory = stat.S_ISDIR(self.mode)
        need(self.special == 0 or self.is_directory or stat.S_ISCHR(self.mode)
             or stat.S_ISBLK(self.mode), what + ": special")


class Extent:
    def __init__(self, fs, inode, offset, data):
        what = f"inode {inode}, extent at {offset}"
        block = fs.block.block
        need(len(data) >= 8, what + ": short")
        self.offset = offset
        self.form, self.compression, self.sums, flags, self.length = struct.unpack_from(
            "<BBBBI", data)
        need(self.form <= 2 and flags == 0 and self.length > 0, f"{what}: form {self.form}")
        self.address = self.count = 0
        if self.form == 0:
            self.inline = data[8:]
            need(self.compression == self.sums == 0 and len(self.inline) == self.length, what)
            return
        need(len(data) >= 36, what + ": short")
        self.address, birth, self.stored, self.whole, self.skip = struct.unpack_from(
            "<QQIII", data, 8)
        need(birth <= fs.limit, what + ": birth")
        need(offset % block == 0 and self.length % block == 0, what + ": not at a block")
        need(self.compression <= 2 and self.sums <= 1, what)
        need(self.form == 1 or self.compression == self.sums == 0, what)
        if self.compression:
            need(0 < self.stored and self.whole % block == 0 and self.whole <= 131072
                 and self.skip % block == 0 and self.skip + self.length <= self.whole, what)
        else:
            need(self.stored == self.whole == self.length and self.skip == 0, what)
        need(self.length <= (1 << 20 if self.sums or self.compression else 1 << 30), what)
        sums = 0 if not self.sums else 1 if self.compression else self.length // block
        need(len(data) == 36 + 4 * sums, what + ": its checksums")
        self.checksums = struct.unpack_from(f"<{sums}I", data, 36)
        self.count = -(-self.stored // block)
        need(fs.block.first_node <= self.address
             and self.address + self.count <= fs.block.last_node, what + ": outside the device")

    def bytes(self, fs):
        what = f"extent at block {self.address}"
        if self.form == 0:
            return self.inline
        if self.form == 2:
            return bytes(self.length)
        block = fs.block.block
        data = fs.read(self.address * block, self.count * block)
        zero(data[self.stored:], what)
        data = data[:self.stored]
        pieces = [data] if self.compression else [
            data[at:at + block] for at in range(0, len(data), block)]
        if self.sums:
            for piece, checksum in zip(pieces, self.checksums):
                need(crc32c(piece, fs.block.seed) == checksum, what + ": checksum of data")
        if not self.compression:
            return data
        whole = decompress(self.compression, data, self.whole)
        return whole[self.skip:self.skip + self.length]


class Filesystem:
    def __init__(self, path):
        self.image = os.open(path, os.O_RDONLY)
        self.size = os.lseek(self.image, 0, os.SEEK_END)
        candidates, self.notes = superblocks(self.image, self.size)
        for self.block in candidates:
            try:
                need(self.block.end <= self.size, "the device was cut short")
                # Records that the log entered are of the group after.
                self.limit = self.block.group
                self.main, self.space = Tree(self, 1), Tree(self, 2)
                break
            except Damage as damage:
                self.notes.append(f"group {self.block.group}: {damage}")
        else:
            raise Damage("; ".join(self.notes))
        self.check_space()
        self.overlay = {}  # inode → [(offset, bytes)], what the log writes, in order
        self.entries = self.replay()

    def read(self, offset, count):
        data = os.pread(self.image, count, offset)
        need(len(data) == count, f"cannot read {count} bytes at {offset}")
        return data

    # -- Records

    def inode(self, number):
        data = self.main.get((number << 8 | INODE, 0, b""))
        need(data is not None, f"inode {number}: not there")
        return Inode(number, data)

    def inodes(self):
        for key, value in zip(self.main.keys, self.main.values):
            if key[0] >> 8 and key[0] & 0xFF == INODE:
                need(key[1] == 0 and key[2] == b"", f"inode {key[0] >> 8}: its key")
                yield Inode(key[0] >> 8, value)

    def of_kind(self, number, kind):
        object = number << 8 | kind
        return self.main.range((object, 0, b""), (object + 1, 0, b""))

    def name_number(self, name):
        return siphash(self.block.name_key, name) >> 18 << 16

    def directory(self, number):
        """(name, inode, type) in order of (name number, distinction)."""
        found = []
        for (_, hash, name), value in self.of_kind(number, ENTRY):
            what = f"directory {number}, name {name!r}"
            need(1 <= len(name) <= 255 and b"/" not in name and b"\0" not in name
                 and name not in (b".", b".."), what)
            need(hash == self.name_number(name), what + ": name number")
            need(len(value) == 12, what)
            inode, distinction, kind, reserved = struct.unpack("<QHBB", value)
            need(distinction > 0 and reserved == 0, what)
            found.append(((hash, distinction), name, inode, kind))
        found.sort()
        for first, second in zip(found, found[1:]):
            need(first[0] != second[0], f"directory {number}: a distinction given twice")
        return [entry[1:] for entry in found]

    def attributes(self, number):
        """{name: value}"""
        values, lengths = {}, {}
        for (_, hash, tail), value in self.of_kind(number, ATTRIBUTE):
            name, separator, index = tail.partition(b"\0")
            what = f"inode {number}, attribute {name!r}"
            need(1 <= len(name) <= 255 and hash == self.name_number(name), what)
            if not separator:
                need(len(value) >= 4, what)
                (lengths[name],) = struct.unpack_from("<I", value)
                values[name] = [value[4:]]
            else:
                pieces = values.get(name)
                need(pieces is not None and len(index) == 1 and index[0] == len(pieces)
                     and value, what + ": a piece")
                pieces.append(value)
        joined = {name: b"".join(pieces) for name, pieces in values.items()}
        for name, value in joined.items():
            need(len(value) == lengths[name] <= 65536, f"inode {number}, attribute {name!r}: length")
        return joined

    def extents(self, number):
        end = 0
        for (_, offset, tail), value in self.of_kind(number, EXTENT):
            extent = Extent(self, number, offset, value)
            what = f"inode {number}, extent at {offset}"
            need(tail == b"" and offset >= end, what + ": overlaps")
            end = offset + extent.length
            yield extent

    def data(self, inode):
        """(offset, bytes) from the start on; what is left out is zeros."""
        number, is_link = inode.number, stat.S_ISLNK(inode.mode)
        extents = list(self.extents(number))
        for extent in extents:
            if extent.form == 0 and not is_link:
                need(extent.offset == 0 and extent.length <= 4096, f"inode {number}: inline data")
                need(all(other is extent or other.offset >= 4096 for other in extents),
                     f"inode {number}: extents within inline data")
            data = extent.bytes(self)[:max(0, inode.size - extent.offset)]
            if data:
                yield extent.offset, data
        for offset, data in self.overlay.get(number, []):
            yield offset, data[:max(0, inode.size - offset)]

    def content(self, inode):
        content = bytearray(inode.size)
        for offset, data in self.data(inode):
            content[offset:offset + len(data)] = data
        return bytes(content)

    # -- 6. The space tree

    def check_space(self):
        block, used = self.block, {}

        def use(first, count, what):
            for number in range(first, first + count):
                need(number not in used, f"block {number}: used by {used.get(number)} and {what}")
                used[number] = what

        edge, unit = SET // block.block, block.node // block.block
        use(0, edge, "superblocks")
        use(block.total - edge, edge, "superblocks")
        use(block.log_start, block.log_blocks, "the log")
        for tree in (self.main, self.space):
            for address in tree.nodes:
                use(address, unit, f"tree {tree.number}")
        data_blocks = 0
        for (object, offset, _), value in zip(self.main.keys, self.main.values):
            if object & 0xFF == EXTENT:
                extent = Extent(self, object >> 8, offset, value)
                use(extent.address, extent.count, f"inode {object >> 8}")
                data_blocks += extent.count
        need(data_blocks == block.data_blocks, f"{data_blocks} data blocks, not {block.data_blocks}")
        free, runs = 0, {}
        regions = {}
        for (object, number, tail), value in zip(self.space.keys, self.space.values):
            need(tail == b"" and object in (1, 2), f"space tree: a key ({object}, {number})")
            if object == 1:
                need(len(value) == 16, f"region {number}")
                regions[number] = struct.unpack("<IIII", value)
                need(regions[number][3] & ~1 == 0, f"region {number}: flags")
                continue
            need(len(value) == 4, f"free extent {number}")
            (count,) = struct.unpack("<I", value)
            index = number // block.region
            need(count >= 1 and (number + count - 1) // block.region == index,
                 f"free extent {number}: not within a region")
            last = runs.setdefault(index, [])
            need(not last or last[-1][0] + last[-1][1] < number, f"free extent {number}: touches")
            last.append((number, count))
            use(number, count, "free space")
            free += count
        need(len(used) == block.total,
             f"{block.total - len(used)} blocks are neither used nor free")
        need(free == block.free, f"{free} free blocks, {block.free} in the superblock")
        need(sorted(regions) == list(range(-(-block.total // block.region))), "regions")
        for index, (count, places, longest, _) in regions.items():
            own = runs.get(index, [])
            need(count == sum(run[1] for run in own), f"region {index}: free blocks")
            need(longest >= max((run[1] for run in own), default=0), f"region {index}: longest run")
            actual = sum(max(0, (first + many) // unit - -(-first // unit)) for first, many in own)
            need(places == actual, f"region {index}: {places} node places, there are {actual}")

    # -- 8. The log

    def replay(self):
        block, sequence, previous, count = self.block, self.block.log_sequence, None, 0
        position = block.log_position
        while True:
            entry = self.entry(position, sequence, previous)
            if entry is None and position != 0:
                # It may not have fitted before the end.
                position = 0
                entry = self.entry(position, sequence, previous)
            if entry is None:
                return count
            previous, length, records, data = entry
            self.limit = block.group + 2
            self.apply(records, data)
            count += 1
            sequence += 1
            position += -(-(64 + length) // block.block)

    def entry(self, position, sequence, previous):
        """(checksum, length, number of records, their bytes); None: not there or not right."""
        block = self.block
        if position >= block.log_blocks:
            return None
        place = (block.log_start + position) * block.block
        header = self.read(place, 64)
        magic, checksum, own, group, at, length, records, before = struct.unpack_from(
            "<IIQQQIII", header)
        room = (block.log_blocks - position) * block.block
        if (magic != 0x4D464C31 or own != sequence or at != position or 64 + length > room
                or any(header[44:]) or group <= block.group):
            return None
        data = self.read(place, 64 + length)
        if crc32c(data[:4] + bytes(4) + data[8:], block.seed) != checksum:
            return None
        if previous is not None and before != previous:
            return None
        return checksum, length, records, data[64:]

    def apply(self, records, data):
        at = 0
        for _ in range(records):
            need(at + 24 <= len(data), "a record of the log ends behind its entry")
            kind, reserved, tail, value, first, second = struct.unpack_from("<BBHIQQ", data, at)
            end = at + 24 + tail + value
            need(reserved == 0 and end <= len(data), "a record of the log")
            key = (first, second, data[at + 24:at + 24 + tail])
            content = data[at + 24 + tail:end]
            if kind == 1:
                self.main.put(key, content)
                self.supersede(key, content)
            elif kind == 2:
                self.supersede(key, self.main.get(key))
                self.main.remove(key)
            elif kind == 5:
                self.overlay.setdefault(first, []).append((second, content))
            else:
                need(kind in (3, 4, 6), f"a record of type {kind} in the log")
            zero(data[end:(end + 7) // 8 * 8], "the log")
            at = (end + 7) // 8 * 8
        need(at == len(data), "an entry of the log is longer than its records")

    def supersede(self, key, value):
        """What was written before an extent was entered, or its file cut, is not there any more."""
        inode, kind = key[0] >> 8, key[0] & 0xFF
        written = self.overlay.get(inode)
        if not written or value is None:
            return
        if kind == EXTENT:
            start = key[1]
            end = start + struct.unpack_from("<I", value, 4)[0]
        elif kind == INODE:
            start, end = struct.unpack_from("<Q", value, 16)[0], 2**64
        else:
            return
        kept = []
        for offset, data in written:
            if offset < start:
                kept.append((offset, data[:start - offset]))
            if offset + len(data) > end:
                kept.append((max(offset, end), data[max(0, end - offset):]))
        self.overlay[inode] = kept

    # -- All of it

    def walk(self):
        """(path, inode) of every name, a directory before what is in it."""
        root = self.inode(ROOT)
        need(root.is_directory and root.special == ROOT, "the root directory")
        pending = [(b"", root)]
        while pending:
            path, inode = pending.pop()
            yield path, inode
            if not inode.is_directory:
                continue
            children = self.directory(inode.number)
            need(len(children) == inode.size,
                 f"{path!r}: {len(children)} entries, {inode.size} counted")
            for name, number, kind in reversed(children):
                child = self.inode(number)
                need(kind == child.mode >> 12, f"{path + b'/' + name!r}: type")
                if child.is_directory:
                    need(child.special == inode.number, f"{path + b'/' + name!r}: parent")
                pending.append((path + b"/" + name, child))


# -- What it is asked for ------------------------------------------------------------------


def show(path):
    return os.fsdecode(path) or "/"


def list_files(fs):
    for path, inode in fs.walk():
        target = " -> " + os.fsdecode(fs.content(inode)) if stat.S_ISLNK(inode.mode) else ""
        print(stat.filemode(inode.mode), inode.links, inode.owner, inode.users, inode.size,
              inode.number, show(path) + target)


def extract(fs, directory):
    first, directories = {}, []
    directory = os.fsencode(directory)
    os.makedirs(directory, exist_ok=True)
    for path, inode in fs.walk():
        place = directory + path
        if inode.number in first:
            os.link(first[inode.number], place, follow_symlinks=False)
            continue
        if inode.is_directory:
            os.makedirs(place, exist_ok=True)
            directories.append((place, inode))
            continue
        first[inode.number] = place
        if stat.S_ISREG(inode.mode):
            with open(place, "wb") as file:
                for offset, data in fs.data(inode):
                    file.seek(offset)
                    file.write(data)
                file.truncate(inode.size)
            os.chmod(place, inode.mode & 0o7777)
        elif stat.S_ISLNK(inode.mode):
            os.symlink(fs.content(inode), place)
        elif stat.S_ISFIFO(inode.mode):
            os.mkfifo(place, inode.mode & 0o7777)
        else:
            continue  # devices and sockets need rights that a reader should not
        set_times(place, inode)
    for place, inode in reversed(directories):
        os.chmod(place, inode.mode & 0o7777)
        set_times(place, inode)


def set_times(place, inode):
    times = tuple(inode.seconds[index] * 10**9 + inode.nanoseconds[index] for index in (0, 1))
    os.utime(place, ns=times, follow_symlinks=False)


def attributes(fs):
    for path, inode in fs.walk():
        for name, value in sorted(fs.attributes(inode.number).items()):
            print(show(path), os.fsdecode(name), value.hex())


def check(fs):
    names, below = {}, {}
    for path, inode in fs.walk():
        names[inode.number] = names.get(inode.number, 0) + 1
        if inode.is_directory and path:
            below[inode.special] = below.get(inode.special, 0) + 1
    orphans = set()
    for (_, number, tail), value in fs.of_kind(0, ORPHAN):
        need(tail == b"" and value == b"", f"orphan {number}")
        orphans.add(number)
    count = 0
    for inode in fs.inodes():
        count += 1
        number = inode.number
        links = 2 + below.get(number, 0) if inode.is_directory else names.get(number, 0)
        if number in orphans and number not in names:
            need(inode.links == 0, f"inode {number}: an orphan without names has links")
        else:
            need(number in names, f"inode {number}: no name leads to it")
            need(inode.links == links, f"inode {number}: {inode.links} links, there are {links}")
        need(number < fs.block.next_inode or fs.entries, f"inode {number}: not given out")
        values = fs.attributes(number)
        need(inode.flags & 2 or not values, f"inode {number}: has attributes")
        need(sum(extent.count for extent in fs.extents(number)) == inode.blocks,
             f"inode {number}: blocks")
        for _ in fs.data(inode):
            pass
    print(f"group {fs.block.group}, {count} inodes, {fs.entries} entries in the log: all is right")


def main(words):
    if len(words) == 3 and words[2] in ("list", "attributes", "check"):
        run = {"list": list_files, "attributes": attributes, "check": check}[words[2]]
    elif len(words) == 4 and words[2] == "extract":
        def run(fs):
            extract(fs, words[3])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        fs = Filesystem(words[1])
        for note in fs.notes:
            print("reader: note:", note, file=sys.stderr)
        run(fs)
    except (Damage, OSError) as error:
        print("reader:", error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
