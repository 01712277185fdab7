#!/usr/bin/env python3
"""Reads a store of Larder by docs/format.md and by nothing else: an independent second reading of the format.

    python3 decode.py DATA_DIRECTORY

Explains every byte of store.toml, journal/* and segments/*, checks every checksum and digest, decodes every record and
replays the names. Prints them as JSON and exits with 0; at the first byte that no rule explains it says where, and
exits with 1. Meant for the store of a daemon that was stopped; a tear, which a crash may leave, is an error here.
Standard library only, so BLAKE3 and CRC-32C are written out: slow, for stores of some megabytes.
"""
import hashlib
import json
import os
import re
import struct
import sys

BLOCK = 4096


class Wrong(Exception):
    """A byte that no rule explains."""


# ---- The two checksums -----------------------------------------------------------------------------------------------

CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS_AND_DIAGONALS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8


def compress(chaining, words, counter, length, flags):
    v = [*chaining, *IV[:4], counter & 0xFFFFFFFF, counter >> 32, length, flags]
    for _ in range(7):
        at = 0
        for a, b, c, d in COLUMNS_AND_DIAGONALS:
            for word, right, left in ((words[at], 16, 12), (words[at + 1], 8, 7)):
                v[a] = v[a] + v[b] + word & 0xFFFFFFFF
                x = v[d] ^ v[a]
                v[d] = (x >> right | x << 32 - right) & 0xFFFFFFFF
                v[c] = v[c] + v[d] & 0xFFFFFFFF
                x = v[b] ^ v[c]
                v[b] = (x >> left | x << 32 - left) & 0xFFFFFFFF
            at += 2
        words = [words[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def blake3_node(data, counter, root):
    """The chaining value of a subtree whose first chunk of 1 KiB has this number."""
    if len(data) > 1024:
        left = 1024
        while left * 2 < len(data):
            left *= 2
        pair = blake3_node(data[:left], counter, 0) + blake3_node(data[left:], counter + left // 1024, 0)
        return compress(IV, pair, 0, 64, PARENT | root)
    value = IV
    for at in range(0, max(len(data), 1), 64):
        block = data[at:at + 64]
        last = at + 64 >= len(data)
        flags = (CHUNK_START if at == 0 else 0) | (CHUNK_END | root if last else 0)
        value = compress(value, struct.unpack("<16I", block.ljust(64, b"\0")), counter, len(block), flags)
    return value


def blake3(data):
    return struct.pack("<8I", *blake3_node(bytes(data), 0, ROOT))


# ---- Payloads: postcard ----------------------------------------------------------------------------------------------
# A shape is a function of a cursor, or a list of (field, shape) in the order of the bytes.

class Cursor:
    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Wrong("payload is too short")
        self.at += count
        return self.data[self.at - count:self.at]


def read(shape, cursor):
    if callable(shape):
        return shape(cursor)
    return {field: read(inner, cursor) for field, inner in shape}


def uint(cursor):
    value = shift = 0
    while True:
        byte = cursor.take(1)[0]
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value
        if shift >= 70:
            raise Wrong("integer of more than 10 bytes")


def sint(cursor):
    value = uint(cursor)
    return value >> 1 ^ -(value & 1)


def one_byte(cursor):
    return cursor.take(1)[0]


def boolean(cursor):
    return choice(False, True)(cursor)


def raw(cursor):
    return cursor.take(uint(cursor))


def text(cursor):
    return raw(cursor).decode()


def exactly(count):
    return lambda cursor: cursor.take(count)


def choice(*names):
    def shape(cursor):
        number = uint(cursor)
        if number >= len(names):
            raise Wrong(f"there is no choice {number} of {names}")
        name = names[number]
        return (name[0], read(name[1], cursor)) if isinstance(name, tuple) else name
    return shape


def optional(inner):
    return lambda cursor: read(inner, cursor) if boolean(cursor) else None


def many(inner):
    return lambda cursor: [read(inner, cursor) for _ in range(uint(cursor))]


digest = exactly(32)
place = [("kind", choice("journal", "segment")), ("file", uint), ("offset", uint), ("stored_len", uint)]
placed = [("digest", digest), ("place", place)]
package = [("id", uint), ("name", text), ("exact_case", boolean), ("created", sint)]
version = [("id", uint), ("name", text), ("created", sint), ("creator", uint)]
file = [("id", uint), ("name", text), ("blob", digest), ("size", uint), ("shape", choice("single", "chunked")),
        ("created", sint), ("creator", uint), ("sha256", optional(digest))]
account = [("id", uint), ("name", text), ("kind", choice("user", "organisation")),
           ("visibility", choice("public", "limited", "private")), ("active", boolean), ("admin", boolean),
           ("email", text), ("password", optional(text)), ("created", sint)]
token = [("id", uint), ("account", uint), ("name", text), ("hash", digest), ("last_eight", text), ("scopes", uint),
         ("created", sint), ("expires", optional(sint)), ("grants", many([("packages", text), ("write", boolean)]))]
membership = [("organisation", uint), ("user", uint), ("permission", choice("read", "write", "admin"))]
policy = choice("release", "package", "write-once", "cache")
limit = choice("unlimited", ("at most", uint))
settings = [("policy", optional(policy)), ("policies", many([("packages", text), ("policy", policy)])),
            ("max_bytes", optional(limit)), ("max_versions", optional(limit)), ("max_file_size", optional(limit))]
rule = [("packages", text), ("keep_newest", optional(uint)), ("keep", many(text)), ("remove", many(text)),
        ("older_than", optional(sint)), ("unused_for", optional(sint))]
holder = choice(("owner", uint), ("package", uint))
totals = [("bytes", uint), ("files", uint), ("versions", uint)]
id_and_name = [("id", uint), ("name", text)]

PAYLOADS = {
    2: ("manifest", [("chunks", many([("digest", digest), ("len", uint)]))]),
    3: ("places", many(placed)),
    4: ("publish", [("owner", uint), ("package", package), ("version", version), ("file", file)]),
    5: ("remove file", [("owner", uint), ("package", package), ("version", version), ("file", uint), ("name", text),
                        ("version_gone", boolean), ("package_gone", boolean)]),
    6: ("remove version", [("owner", uint), ("package", package), ("version", version), ("package_gone", boolean),
                           ("swept_later", boolean)]),
    7: ("account", account),
    8: ("token", token),
    9: ("token revoked", token),
    10: ("sweep", [("version", uint), ("through", raw), ("done", boolean)]),
    11: ("drop", [("chunks", many(digest)), ("manifests", many(digest))]),
    12: ("quarantine", placed),
    13: ("remove account", [("account", account), ("tokens", many([("id", uint), ("hash", digest)])),
                            ("memberships", many([("organisation", uint), ("user", uint)]))]),
    14: ("member", membership),
    15: ("member left", membership),
    18: ("remove package", [("owner", uint), ("package", package)]),
    19: ("sweep package", [("package", package), ("versions", many(id_and_name)), ("large", optional(id_and_name)),
                           ("done", boolean)]),
    20: ("totals", many([("holder", holder), ("totals", totals)])),
    21: ("checksums", [("md5", exactly(16)), ("sha1", exactly(20)), ("sha256", digest), ("sha512", exactly(64))]),
    22: ("settings", [("owner", uint), ("settings", settings)]),
    32: ("pin", [("version", uint), ("by", uint), ("since", sint)]),
    33: ("unpin", uint),
    34: ("rules", [("owner", uint), ("rules", optional(many(rule)))]),
    40: ("token uses", many([("token", digest), ("at", sint)])),
}
SEGMENT_FOOTER = many([("digest", digest), ("offset", uint), ("stored_len", uint)])
JOURNAL_FOOTER = many([("number", uint), ("head", raw),
                       ("records", many([("number", uint), ("offset", uint), ("stored_len", uint), ("kind", one_byte),
                                         ("digest", digest), ("payload", raw)]))])


def decode(shape, payload):
    cursor = Cursor(payload)
    value = read(shape, cursor)
    if cursor.at != len(payload):
        raise Wrong(f"{len(payload) - cursor.at} bytes behind the payload's value")
    return value


# ---- Files -----------------------------------------------------------------------------------------------------------

class LogFile:
    """A file of the log; `at` is how far its bytes are explained."""

    def __init__(self, path, kind, uuid):
        self.path, self.kind, self.at = path, kind, 0
        with open(path, "rb") as opened:
            self.bytes = opened.read()
        name = re.fullmatch(r"([0-9a-f]{16})\.(log|seg)", os.path.basename(path))
        self.expect(name and name[2] == ("log" if kind == 1 else "seg"), "name of the file")
        self.number = int(name[1], 16)
        magic = b"LRDRJRNL" if kind == 1 else b"LRDRSEGM"
        header = magic + struct.pack("<I16sQ", 2, uuid, self.number)
        self.expect(self.bytes[:40] == header + struct.pack("<I", crc32c(header)), "file header")
        self.at = 40
        self.zeroes(BLOCK)
        self.binding = uuid + struct.pack("<BQ", kind, self.number)
        self.end = len(self.bytes)
        self.trailer = self.read_trailer()

    def expect(self, true, what):
        if not true:
            raise Wrong(f"{self.path} at {self.at}: {what}")

    def zeroes(self, end):
        self.expect(end <= len(self.bytes) and not any(self.bytes[self.at:end]), f"not zeroes up to {end}")
        self.at = end

    def sealed_sum(self, data, offset):
        return crc32c(data + self.binding + struct.pack("<Q", offset))

    def read_trailer(self):
        """The offset of the footer of a sealed file, None of another one."""
        offset, tail = len(self.bytes) - 24, self.bytes[-24:]
        if tail[:8] != b"LRDRTRLR":
            return None
        footer, zero, checksum = struct.unpack("<QII", tail[8:])
        self.expect(zero == 0 and checksum == self.sealed_sum(tail[:20], offset), "trailer")
        self.end = offset
        return footer

    def record(self):
        head = self.bytes[self.at:self.at + 64]
        self.expect(len(head) == 64 and self.at % 8 == 0, "no room for a record")
        magic, kind, codec, encoding, content, stored, number, name, payload_sum, checksum = struct.unpack(
            "<4sBBHIIQ32sII", head)
        self.expect(magic == b"RLRD", "magic of a record")
        self.expect(checksum == self.sealed_sum(head[:60], self.at), "checksum of a record's header")
        self.expect((codec, encoding) == (0, 1) and content == stored, "codec, version or length of a record")
        offset, end = self.at, self.at + 64 + stored
        payload = self.bytes[self.at + 64:end]
        self.expect(end <= self.end and payload_sum == crc32c(payload), "checksum of a payload")
        # Of a manifest and of checksums it is the blob that they are about.
        self.expect(kind in (2, 21) or name == blake3(payload), "digest of a record")
        self.at = end
        self.zeroes(end + 7 & ~7)
        return {"number": number, "offset": offset, "stored_len": stored, "kind": kind, "digest": name,
                "payload": payload}

    def next_block(self):
        self.zeroes(min(self.at + BLOCK - 1 & -BLOCK, self.end))

    def footer(self):
        """The values of the footer's records, up to the trailer."""
        self.expect(self.at == self.trailer, f"the footer begins at {self.trailer}")
        records = []
        while self.at < self.end:
            records.append(self.record())
            self.expect(records[-1]["kind"] == 17, "a footer of other records")
        return records


class Store:
    def __init__(self, data):
        with open(os.path.join(data, "store.toml")) as opened:
            toml = opened.read()
        found = re.search(r'^format = 2\nuuid = "([0-9a-f]{32})"\nsecret = "[0-9a-f]{64}"$', toml, re.M)
        if not found:
            raise Wrong("store.toml: not that of a store of format 2")
        self.uuid = bytes.fromhex(found[1])
        self.chunks, self.manifests, self.checksums, self.files = {}, {}, {}, {}
        self.counts, self.group = {}, 0
        self.found = {}  # what stands at (kind, file, offset): digest and length of a chunk
        for kind, directory, read_file in ((2, "segments", self.segment), (1, "journal", self.journal)):
            for name in sorted(os.listdir(os.path.join(data, directory))):
                log = LogFile(os.path.join(data, directory, name), kind, self.uuid)
                try:
                    read_file(log)
                except (Wrong, UnicodeDecodeError) as error:
                    raise Wrong(error if str(error).startswith(log.path) else f"{log.path} at {log.at}: {error}")

    def count(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1

    def segment(self, log):
        listed = []
        while log.at != log.trailer and log.at < log.end:
            if log.bytes[log.at:log.at + 4] != b"RLRD":
                # Behind a sync the next record, or the footer, begins a block; or nothing more was written.
                if not any(log.bytes[log.at:log.end]) and log.trailer is None:
                    break
                log.expect(log.at % BLOCK, "neither a record nor the end")
                log.next_block()
                continue
            record = log.record()
            log.expect(record["kind"] == 1 and record["number"] == len(listed), "type or number of a segment's record")
            listed.append({key: record[key] for key in ("digest", "offset", "stored_len")})
            self.chunks[record["digest"]] = record["payload"]
            self.found["segment", log.number, record["offset"]] = (record["digest"], record["stored_len"])
            self.count("chunk of a segment")
        if log.trailer is None:
            # Not sealed: behind the last record there are preallocated zeroes.
            self.count("file not sealed")
            return log.zeroes(log.end)
        [footer] = log.footer()
        log.expect(footer["number"] == len(listed), "number of the footer")
        log.expect(decode(SEGMENT_FOOTER, footer["payload"]) == listed, "the footer lists other chunks")

    def journal(self, log):
        groups = []
        while log.at != log.trailer and log.at < log.end:
            if log.trailer is None and not any(log.bytes[log.at:]):
                break
            log.expect(log.at % BLOCK == 0, "a group begins a block")
            groups.append(self.one_group(log))
        if log.trailer is None:
            # Not sealed: behind the last record there are preallocated zeroes.
            self.count("file not sealed")
            return log.zeroes(log.end)
        repeated = []
        for record in log.footer():
            log.expect(record["number"] == 0, "number of a footer's record")
            repeated += decode(JOURNAL_FOOTER, record["payload"])
        log.expect(repeated == groups, "the footer repeats other groups")

    def one_group(self, log):
        head = log.record()
        log.expect(head["kind"] == 16 and head["stored_len"] == 64, "a group's head")
        length, checksum, count, durable, _, _, _, _ = struct.unpack("<QIIQQQQ16s", head["payload"])
        number, begin = head["number"], log.at
        log.expect(self.group < number < 1 << 62 and durable < number, "number of a group")
        self.group = number
        log.expect(checksum == crc32c(log.bytes[begin:begin + length]), "checksum of a group")
        self.count("group")
        records = []
        for _ in range(count):
            record = log.record()
            log.expect(record["number"] == number, "a record of another group")
            if record["kind"] == 1:
                self.chunks[record["digest"]] = record["payload"]
                found_at = ("journal", log.number, record["offset"])
                self.found[found_at] = (record["digest"], record["stored_len"])
                self.count("chunk of the journal")
                record["payload"] = b""
            else:
                log.expect(record["kind"] in PAYLOADS, f"record of type {record['kind']}")
                name, shape = PAYLOADS[record["kind"]]
                self.count(name)
                self.replay(name, record["digest"], decode(shape, record["payload"]))
            records.append(record)
        log.expect(log.at == begin + length, "length of a group")
        log.next_block()
        return {"number": number, "head": head["payload"], "records": records}

    def replay(self, name, blob, value):
        """Names only: by id of version, and name of file as it is matched."""
        if name == "manifest":
            self.manifests[blob] = value["chunks"]
        elif name == "checksums":
            self.checksums[blob] = value
        elif name == "places":
            for item in value:
                at = item["place"]
                # Nothing is there where compaction has removed the file since.
                there = self.found.get((at["kind"], at["file"], at["offset"]), (item["digest"], at["stored_len"]))
                if there != (item["digest"], at["stored_len"]):
                    raise Wrong(f"something else is at the place of {item['digest'].hex()}")
        elif name == "publish":
            exact = value["package"]["exact_case"]
            key = value["file"]["name"] if exact else value["file"]["name"].lower()
            self.files[value["version"]["id"], key] = value
        elif name in ("remove file", "remove version", "remove package"):
            what = name.removeprefix("remove ")
            gone = value["file"] if what == "file" else value[what]["id"]
            self.files = {key: live for key, live in self.files.items() if live[what]["id"] != gone}

    def check_content(self, live):
        """Whether the chunks of a file are the bytes that it names."""
        blob = live["blob"]
        parts = [{"digest": blob, "len": live["size"]}] if live["shape"] == "single" else self.manifests[blob]
        body = b"".join(self.chunks[part["digest"]] for part in parts)
        if [len(self.chunks[part["digest"]]) for part in parts] != [part["len"] for part in parts] \
                or len(body) != live["size"] or blake3(body) != blob:
            raise Wrong(f"the chunks of {blob.hex()} are not its bytes")
        claims = list(self.checksums.get(blob, {}).items()) + [("sha256", live["sha256"])]
        for algorithm, claim in claims:
            if claim is not None and hashlib.new(algorithm, body).digest() != claim:
                raise Wrong(f"the {algorithm} of {blob.hex()} is another one")

    def names(self):
        for live in self.files.values():
            try:
                self.check_content(live["file"])
            except KeyError:
                raise Wrong(f"file {live['file']['name']}: its bytes are nowhere") from None
            yield {"owner": live["owner"], "package": live["package"]["name"], "version": live["version"]["name"],
                   "file": live["file"]["name"], "size": live["file"]["size"], "blake3": live["file"]["blob"].hex()}


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: decode.py DATA_DIRECTORY")
    try:
        store = Store(sys.argv[1])
        json.dump({"names": list(store.names()), "records": store.counts}, sys.stdout, indent=1)
    except (Wrong, OSError) as error:
        sys.exit(f"decode.py: {error}")


if __name__ == "__main__":
    main()
