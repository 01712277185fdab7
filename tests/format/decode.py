#!/usr/bin/env python3
"""Reads a Larder store, or a backup of one, as docs/format.md draws it, and by nothing else: decode.py FORMAT.md DIRECTORY

The layout of the payloads, of `last-uses` and of the JSON files is taken from the document itself (its blocks `schema` and
`json-schema`, and the table of `last-uses`), the rest is written from its text. Every byte of every file must be explained,
but for those of the index, which are sled's; otherwise this ends with 1 and says which is not. Standard output is JSON:
the live files with the extents of their bytes on disk and when they were last used, every record with its place and digest,
the quarantined copies, and what the JSON files say.
The store must not be open.
"""

import json
import os
import re
import stat
import struct
import sys
import tomllib

BLOCK = 4096
KINDS = {"journal": (b"LRDRJRNL", 1, ".log"), "segments": (b"LRDRSEGM", 2, ".seg")}
CHUNK, MANIFEST, PLACES, PUBLISH = 1, 2, 3, 4
REMOVE_FILE, REMOVE_VERSION, DROP, QUARANTINE, GROUP, FOOTER, REMOVE_PACKAGE = 5, 6, 11, 12, 16, 17, 18


class Unexplained(Exception):
    """Bytes that the document does not explain."""


# CRC-32C, and the one bound to a place.

TABLE = []
for value in range(256):
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    TABLE.append(value)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


# Payloads: postcard, by the schema in the document.


class Schema:
    """Types by name, and the payload of each type of record."""

    def __init__(self, document, block="schema"):
        block = re.search(rf"```{block}\n(.*?)```", document, re.S).group(1)
        self.types, self.records = {}, {}
        for line in re.sub(r"\n +", " ", block).splitlines():
            head, body = (part.strip() for part in line.split("=", 1))
            number = re.match(r"\d+", head)
            if number:
                self.records[int(number.group())] = body
            else:
                self.types[head] = body

    def read(self, text, data):
        """All of `data`, as the type `text` says."""
        cursor = Cursor(data)
        value = self.value(text.strip(), cursor)
        if cursor.at != len(data):
            raise Unexplained(f"{len(data) - cursor.at} bytes behind {text}")
        return value

    def value(self, text, cursor):
        if text in self.types:
            return self.value(self.types[text], cursor)
        if len(split(text, "|")) > 1:
            name, _, inner = split(text, "|")[cursor.varint()].partition(" ")
            return {name: self.value(inner, cursor)} if inner else name
        if re.match(r"\w+ ", text):
            fields = (field.split(" ", 1) for field in split(text, ","))
            return {name: self.value(inner, cursor) for name, inner in fields}
        if text.endswith("?"):
            return self.value(text[:-1], cursor) if cursor.flag() else None
        if text.startswith("["):
            return [self.value(text[1:-1], cursor) for _ in range(cursor.varint())]
        if text.startswith("("):
            return [self.value(part, cursor) for part in split(text[1:-1], ",")]
        return cursor.plain(text)


class JsonSchema(Schema):
    """The same language for JSON: checks a value that was parsed."""

    def __init__(self, document):
        super().__init__(document, "json-schema")

    def check(self, text, value):
        if text in self.types:
            return self.check(self.types[text], value)
        if len(split(text, "|")) > 1:
            fits = value in split(text, "|")
        elif re.match(r"\w+ ", text):
            fields = dict(field.split(" ", 1) for field in split(text, ","))
            fits = isinstance(value, dict) and fields.keys() == value.keys()
            fits = fits and all(self.check(inner, value[name]) for name, inner in fields.items())
        elif text.endswith("?"):
            fits = value is None or self.check(text[:-1], value)
        elif text.startswith("["):
            fits = isinstance(value, list) and all(self.check(text[1:-1], inner) for inner in value)
        elif text.startswith("("):
            parts = split(text[1:-1], ",")
            fits = isinstance(value, list) and len(value) == len(parts)
            fits = fits and all(map(self.check, parts, value))
        elif text in ("u32", "u64"):
            fits = type(value) is int and 0 <= value < 1 << int(text[1:])
        elif text == "string":
            fits = isinstance(value, str)
        elif re.fullmatch(r"b\d+", text):
            fits = isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{2 * int(text[1:])}}}", value) is not None
        else:
            raise Unexplained(f"the document does not say what {text!r} is")
        if not fits:
            raise Unexplained(f"{json.dumps(value)[:100]} for {text}")
        return True


def split(text, separator):
    """The parts of `text`, but not of what is in brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[(") - (character in "])")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Unexplained("a payload is cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def flag(self):
        byte = self.take(1)[0]
        if byte > 1:
            raise Unexplained(f"{byte} for yes or no")
        return byte == 1

    def plain(self, name):
        if name in ("u32", "u64", "u128"):
            return self.varint()
        if name == "u8":
            return self.take(1)[0]
        if name == "i64":
            value = self.varint()
            return value >> 1 ^ -(value & 1)
        if name == "bool":
            return self.flag()
        if name == "string":
            return self.take(self.varint()).decode()
        if name == "bytes":
            return self.take(self.varint()).hex()
        if re.fullmatch(r"b\d+", name):
            return self.take(int(name[1:])).hex()
        raise Unexplained(f"the document does not say what {name!r} is")


# Files, records, groups.


class LogFile:
    """A file of the log, checked from its first byte to its last."""

    def __init__(self, root, path, name, uuid, schema):
        """The file that belongs at `path` of the data directory and lies under `name` in `root`."""
        directory, base = path.split("/")
        self.magic, self.kind, ending = KINDS[directory]
        if not re.fullmatch(r"[0-9a-f]{16}\%s" % ending, base):
            raise Unexplained(f"{path} is no name of a log file")
        self.path = name
        self.number = int(base.removesuffix(ending), 16)
        self.uuid, self.schema = uuid, schema
        self.bytes = contents(root, name)
        self.records = []
        self.head()
        self.end = self.trailer()

    def fail(self, at, what):
        raise Unexplained(f"{self.path}: byte {at}: {what}")

    def zeroes(self, start, end, what):
        if any(self.bytes[start:end]):
            self.fail(start, f"{what} should be zeroes up to {end}")

    def bound(self, data, at):
        place = self.uuid + bytes([self.kind]) + struct.pack("<QQ", self.number, at)
        return crc32c(data + place)

    def head(self):
        magic, version, uuid, number, crc = struct.unpack_from("<8sI16sQI", self.bytes)
        if (magic, version, uuid, number) != (self.magic, 2, self.uuid, self.number):
            self.fail(0, "the header is not of this file")
        if crc != crc32c(self.bytes[:36]):
            self.fail(36, "checksum of the header")
        self.zeroes(40, BLOCK, "the rest of the header")

    def trailer(self):
        """Where the footer begins; `None` in a file that is not sealed."""
        at = len(self.bytes) - 24
        magic, footer, zero, crc = struct.unpack_from("<8sQII", self.bytes, at)
        if magic != b"LRDRTRLR":
            return None
        if zero != 0 or crc != self.bound(self.bytes[at : at + 20], at):
            self.fail(at, "the trailer's checksum")
        return footer

    def record(self, at):
        """The record at `at` and where it ends; its payload is decoded."""
        header = self.bytes[at : at + 64]
        magic, type_, codec, version, length, stored, number, digest, payload_crc, crc = struct.unpack(
            "<4sBBHIIQ32sII", header
        )
        if magic != b"RLRD" or crc != self.bound(header[:60], at):
            self.fail(at, "there should be a record")
        payload = self.bytes[at + 64 : at + 64 + stored]
        if (codec, version, length) != (0, 1, stored) or payload_crc != crc32c(payload):
            self.fail(at, "the record's payload is not what its header says")
        end = at + 64 + (stored + 7) // 8 * 8
        self.zeroes(at + 64 + stored, end, "behind the payload")
        found = {"file": self.path, "at": at, "type": type_, "number": number, "digest": digest.hex(), "len": stored}
        found["value"] = self.payload(type_, payload, at)
        return found, end

    def payload(self, type_, payload, at):
        if type_ in (CHUNK, GROUP):
            return None
        known = f"{type_}" if type_ != FOOTER else "journal footer" if self.kind == 1 else "segment footer"
        layout = self.schema.records.get(type_) if type_ != FOOTER else self.schema.types[known]
        if layout is None:
            self.fail(at, f"the document has no type {type_}")
        try:
            return self.schema.read(layout, payload)
        except Unexplained as why:
            self.fail(at, f"type {type_}: {why}")

    def footer(self):
        """Footer records, up to the trailer."""
        at, entries = self.end, []
        if at % BLOCK != 0:
            self.fail(at, "a footer begins a block")
        while at < len(self.bytes) - 24:
            record, at = self.record(at)
            if record["type"] != FOOTER:
                self.fail(record["at"], "a footer has only footer records")
            listed = 0 if self.kind == 1 else len(record["value"]["entries"])
            if record["number"] != listed:
                self.fail(record["at"], f"the footer record should have the number {listed}")
            self.records.append(record)
            entries += record["value"] if self.kind == 1 else record["value"]["entries"]
        if at != len(self.bytes) - 24:
            self.fail(at, "the footer does not end at the trailer")
        return entries


def read_journal(file, last):
    """The records of all groups, in order; `last` is the last group of the file before, and of this one at the end."""
    at, end, groups, records = BLOCK, file.end or len(file.bytes), [], []
    while at < end and any(file.bytes[at : at + 64]):
        head, body = file.record(at)
        if head["type"] != GROUP:
            file.fail(at, "a group begins with its head")
        length, crc, count, durable = struct.unpack_from("<QIIQ", file.bytes, at + 64)
        if head["len"] != 64 or crc != crc32c(file.bytes[body : body + length]):
            file.fail(at, "the group is not what its head says")
        if not last < head["number"] < 1 << 62 or durable >= head["number"]:
            file.fail(at, f"group {head['number']} behind {last}, when {durable} was durable")
        last = head["number"]
        file.records.append(head)
        inner, next_ = [], body
        while next_ < body + length:
            record, next_ = file.record(next_)
            if record["number"] != last:
                file.fail(record["at"], f"a record of group {record['number']} in group {last}")
            inner.append(record)
        if next_ != body + length or len(inner) != count:
            file.fail(at, f"the group has {len(inner)} records, and should have {count}")
        at = -(-next_ // BLOCK) * BLOCK
        file.zeroes(next_, min(at, end), "behind the group")
        groups.append((head, inner))
        records += inner
    file.records += records
    if file.end is None:
        file.zeroes(at, end, "room for more")
        return records, last
    if at != end:
        file.fail(at, "the groups do not end where the footer begins")
    listed = file.footer()
    if [entry["number"] for entry in listed] != [head["number"] for head, _ in groups]:
        file.fail(end, "the footer lists other groups")
    for entry, (head, inner) in zip(listed, groups):
        start = head["at"] + 64
        if entry["head"] != file.bytes[start : start + 64].hex() or len(entry["records"]) != len(inner):
            file.fail(end, f"the footer lists another group {head['number']}")
        for said, record in zip(entry["records"], inner):
            payload = b"" if record["type"] == CHUNK else payload_of(file, record)
            found = [record[key] for key in ("number", "at", "len", "type", "digest")]
            if [said[key] for key in ("number", "offset", "stored_len", "kind", "digest")] != found:
                file.fail(record["at"], "the footer says otherwise of this record")
            if said["payload"] != payload.hex():
                file.fail(record["at"], "the footer repeats another payload")
    return records, last


def payload_of(file, record):
    return file.bytes[record["at"] + 64 : record["at"] + 64 + record["len"]]


def read_segment(file):
    at, end = BLOCK, file.end or len(file.bytes)
    while at < end:
        if not any(file.bytes[at : at + 64]):
            # Behind a sync the next record begins a block; in an open file there is room for more.
            block = end if file.end is None and not any(file.bytes[at:end]) else -(-(at + 1) // BLOCK) * BLOCK
            file.zeroes(at, min(block, end), "between records")
            at = block
            continue
        record, at = file.record(at)
        if record["type"] != CHUNK:
            file.fail(record["at"], "a segment has only chunks")
        if record["number"] != len(file.records):
            file.fail(record["at"], f"record {len(file.records)} has the number {record['number']}")
        file.records.append(record)
    if file.end is not None:
        chunks = [[record[key] for key in ("digest", "at", "len")] for record in file.records]
        listed = [[entry[key] for key in ("digest", "offset", "stored_len")] for entry in file.footer()]
        if listed != chunks:
            file.fail(end, "the footer lists other chunks")


# What the log says.


class Replay:
    """The names that are there after all records, in order. `names`: where the files of the log lie."""

    def __init__(self, names):
        self.chunks, self.manifests, self.files, self.package_of = {}, {}, {}, {}
        self.names, self.quarantined = names, {}

    def apply(self, record):
        type_, value = record["type"], record["value"]
        here = [record["file"], record["at"] + 64, record["len"]]
        if type_ == CHUNK:
            self.put(record["digest"], here)
        elif type_ == MANIFEST:
            self.manifests[record["digest"]] = value["chunks"]
            self.lift(record["digest"], here)
        elif type_ == PLACES:
            for placed in value:
                self.put(placed["digest"], self.extent(placed["place"]))
        elif type_ == QUARANTINE:
            self.quarantined[value["digest"]] = self.extent(value["place"])
        elif type_ == PUBLISH:
            package, version = value["package"], value["version"]
            name = value["file"]["name"] if package["exact_case"] else value["file"]["name"].lower()
            self.package_of[version["id"]] = package["id"]
            self.files[version["id"], name] = value
        elif type_ == REMOVE_FILE:
            gone = value["file"]
            self.files = {key: kept for key, kept in self.files.items() if kept["file"]["id"] != gone}
        elif type_ == REMOVE_VERSION:
            self.forget(lambda version: version == value["version"]["id"])
        elif type_ == REMOVE_PACKAGE:
            self.forget(lambda version: self.package_of[version] == value["package"]["id"])
        elif type_ == DROP:
            for digest in value["chunks"]:
                self.chunks.pop(digest, None)
            for digest in value["manifests"]:
                self.manifests.pop(digest, None)

    def extent(self, place):
        directory = "journal" if place["kind"] == "journal" else "segments"
        path = f"{directory}/{place['file']:016x}{KINDS[directory][2]}"
        return [self.names.get(path, path), place["offset"] + 64, place["stored_len"]]

    def put(self, digest, extent):
        self.chunks[digest] = extent
        self.lift(digest, extent)

    def lift(self, digest, extent):
        if self.quarantined.get(digest) != extent:
            self.quarantined.pop(digest, None)

    def forget(self, is_gone):
        self.files = {key: kept for key, kept in self.files.items() if not is_gone(key[0])}

    def live(self, uses):
        for value in self.files.values():
            file = value["file"]
            single = file["shape"] == "single"
            digests = [file["blob"]] if single else [chunk["digest"] for chunk in self.manifests[file["blob"]]]
            yield {
                "owner": value["owner"],
                "package": value["package"]["name"],
                "version": value["version"]["name"],
                "file": file["name"],
                "size": file["size"],
                "blob": file["blob"],
                "extents": [self.chunks[digest] for digest in digests],
                "last_used": [uses(file["id"]), uses(value["version"]["id"])],
            }


# What lies beside the log.


def contents(root, name):
    with open(os.path.join(root, name), "rb") as file:
        return file.read()


class LastUses:
    """`last-uses`, by the table of the document."""

    def __init__(self, document, data):
        table = re.search(r"\| 0 \| 8 \| `LRDRUSES` \|\n.*?\n\n", document, re.S).group()
        rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.strip().splitlines()]
        n = at = 0
        fields = []
        for offset, size, _ in rows:
            if evaluate(offset, n) != at:
                raise Unexplained(f"last-uses: {offset} is not where the field before it ends, {at}")
            fields.append(data[at : at + evaluate(size, n)])
            at += evaluate(size, n)
            if len(fields) == 3:
                n = int.from_bytes(fields[2], "little")
        magic, version, _, lines, crc = fields
        if at != len(data) or n == 0:
            raise Unexplained(f"last-uses: {at} bytes drawn for {n} lines, and {len(data)} there")
        if magic != b"LRDRUSES" or int.from_bytes(version, "little") != 1:
            raise Unexplained("last-uses: another version")
        if int.from_bytes(crc, "little") != crc32c_of_much(data[: -len(crc)]):
            raise Unexplained("last-uses: checksum")
        self.lines, self.n = lines, n

    def __call__(self, id_):
        """When an id was last used, in seconds since 1970; 0: never."""
        bits = (1 << 64) - 1
        h = id_ + 0x9E3779B97F4A7C15 & bits
        h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & bits
        h = (h ^ h >> 27) * 0x94D049BB133111EB & bits
        h ^= h >> 31
        line = (h >> 32) * self.n >> 32
        slots = [(h + k * (h // 16 % 16 | 1)) % 16 for k in range(3)]
        return min(struct.unpack_from("<I", self.lines, line * 64 + slot * 4)[0] for slot in slots)


def evaluate(text, n):
    """A sum of numbers and of numbers times `n`."""
    terms = (term.strip() for term in text.split("+"))
    return sum(int(term.removesuffix("n")) * (n if term.endswith("n") else 1) for term in terms)


def crc32c_of_much(data):
    """The same, and quick where most of it are zeroes: as this table is."""
    crc = 0xFFFFFFFF
    for block in range(0, len(data), BLOCK):
        part = data[block : block + BLOCK]
        if len(part) == BLOCK and not any(part):
            crc = after_zeroes(crc)
            continue
        for byte in part:
            crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def after_zeroes(crc):
    """The state behind a block of zeroes. It is linear in the bits of the state before."""
    if not ZEROES:
        for bit in range(32):
            state = 1 << bit
            for _ in range(BLOCK):
                state = TABLE[state & 0xFF] ^ state >> 8
            ZEROES.append(state)
    behind = 0
    for bit in range(32):
        behind ^= ZEROES[bit] if crc >> bit & 1 else 0
    return behind


ZEROES = []


class Directory:
    """A data directory or a backup: every name in it is explained, and every file beside the log read."""

    def __init__(self, root, document):
        self.root, self.document, self.schema = root, document, JsonSchema(document)
        self.uses, self.json = lambda _: 0, {}
        self.is_backup = os.path.exists(os.path.join(root, "backup.lock"))
        for name in sorted(os.listdir(root)):
            mode = os.lstat(os.path.join(root, name)).st_mode
            if stat.S_ISDIR(mode):
                known = ["journal", "segments"] + ([] if self.is_backup else ["index"])
                if name not in known:
                    raise Unexplained(f"{name}: the document has no such directory, or only for moments")
            elif name == "control.sock" and stat.S_ISSOCK(mode):
                pass
            elif stat.S_ISREG(mode):
                self.file(name, contents(root, name))
            else:
                raise Unexplained(f"{name}: neither a file nor a directory")

    def file(self, name, data):
        if name == ("backup.lock" if self.is_backup else "LOCK"):
            if data:
                raise Unexplained(f"{name} should be empty")
        elif name == ("identity.toml" if self.is_backup else "store.toml"):
            self.identity(name, data)
        elif name == "backup.json" and self.is_backup:
            self.parse(name, "Backup", data)
            if not data.endswith(b"\n}\n"):
                raise Unexplained("backup.json should be broken into lines")
        elif self.is_backup:
            raise Unexplained(f"{name}: the document has no such file in a backup")
        elif name in ("scrub.json", "backup.json"):
            self.parse(name, name, data)
            if b"\n" in data:
                raise Unexplained(f"{name} should have no line breaks")
        elif name == "last-uses":
            self.uses = LastUses(self.document, data)
        elif name == "ballast":
            if any(data):
                raise Unexplained("ballast should be zeroes")
        elif name == "initial-admin-password":
            if not re.fullmatch(rb"[^\n]+\n", data):
                raise Unexplained(f"{name} should be one line")
        else:
            raise Unexplained(f"{name}: the document has no such file, or only for moments")

    def parse(self, name, type_, data):
        value = json.loads(data)
        try:
            self.schema.check(type_, value)
        except Unexplained as why:
            raise Unexplained(f"{name}: {why}") from None
        self.json[name] = value

    def identity(self, name, data):
        settings = tomllib.loads(data.decode())
        drawn = {"format", "uuid", "secret", "chunking"}
        sizes = {"min_size", "avg_size", "max_size"}
        if settings.keys() != drawn or settings["chunking"].keys() != sizes:
            raise Unexplained(f"{name} has other keys")
        if settings["format"] != 2:
            raise Unexplained(f"{name}: format {settings['format']}")
        if len(bytes.fromhex(settings["secret"])) != 32:
            raise Unexplained(f"{name}: the secret should have 32 bytes")
        self.uuid = bytes.fromhex(settings["uuid"])

    def names(self):
        """Where the log files lie, by their paths in a data directory; in order."""
        there = {f"{sub}/{name}" for sub in KINDS for name in os.listdir(os.path.join(self.root, sub))}
        if not self.is_backup:
            return {name: name for name in sorted(there)}
        manifest = self.json["backup.json"]
        if manifest["format"] != 1 or bytes.fromhex(manifest["store"]) != self.uuid:
            raise Unexplained("backup.json: another layout, or of another store")
        for file in manifest["files"]:
            name, path, length = file["name"], file["path"], file["len"]
            if os.path.getsize(os.path.join(self.root, name)) != length:
                raise Unexplained(f"{name} should have {length} bytes")
            if name not in (path, f"{path}.{length}") and (name, path) != ("identity.toml", "store.toml"):
                raise Unexplained(f"{name} is no name for {path} in a backup")
        names = {file["path"]: file["name"] for file in manifest["files"] if file["path"] != "store.toml"}
        if set(names.values()) != there:
            raise Unexplained(f"backup.json does not list {there ^ set(names.values())}")
        return dict(sorted(names.items()))


def main(document, root):
    with open(document, encoding="utf-8") as text:
        document = text.read()
    schema, directory = Schema(document), Directory(root, document)
    names = directory.names()
    replay, records, last = Replay(names), [], 0
    for path, name in names.items():
        file = LogFile(root, path, name, directory.uuid, schema)
        if file.kind == 1:
            found, last = read_journal(file, last)
            for record in found:
                replay.apply(record)
        else:
            read_segment(file)
        records += file.records
    for record in records:
        record.pop("value")
    live = list(replay.live(directory.uses))
    quarantined = replay.quarantined
    json.dump({"live": live, "records": records, "quarantined": quarantined, "json": directory.json}, sys.stdout)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Unexplained, struct.error, KeyError, IndexError, ValueError) as why:
        sys.exit(f"{type(why).__name__}: {why}")
