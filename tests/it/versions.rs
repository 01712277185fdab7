//! What another version of Larder has written is refused by name or passed over, as docs/format.md says under Versions.
//! Another `format` in `store.toml` and in a journal's header: tests/it/fixture.rs.

use std::fs;
use std::path::Path;

use larder::store::log::format::{
    Binding, Group, RECORD_HEADER_LEN, RecordHeader, RecordKind, Trailer, block_end,
};
use larder::store::model::FileKind;

use crate::fixture;
use crate::support::{Daemon, MIB, PATIENCE, Request, Setup, bearer, file_path, seeded_bytes, within};
use crate::support::{binary, output_within};

const JOURNAL: &str = "journal/0000000000000001.log";
const SEGMENT: &str = "segments/0000000000000001.seg";

/// A log file under the knife. Whatever is changed, its checksums are right.
struct Log {
    bytes: Vec<u8>,
    binding: Binding,
}

impl Log {
    fn of(data: &Path, kind: FileKind) -> Self {
        let identity = fs::read_to_string(data.join("store.toml")).unwrap();
        let (_, uuid) = identity.split_once("uuid = \"").unwrap();
        let mut store = [0; 16];
        hex::decode_to_slice(&uuid[..32], &mut store).unwrap();
        let path = data.join(if kind == FileKind::Journal {
            JOURNAL
        } else {
            SEGMENT
        });
        Log {
            bytes: fs::read(path).unwrap(),
            binding: Binding { store, kind, file: 1 },
        }
    }

    fn header(&self, at: usize) -> RecordHeader {
        RecordHeader::decode(&self.bytes[at..], &self.binding, at as u64).unwrap()
    }

    /// Gives the record at `at` another header of the same length.
    fn put(&mut self, at: usize, header: &RecordHeader) {
        self.bytes[at..at + RECORD_HEADER_LEN].copy_from_slice(&header.encode(&self.binding, at as u64));
    }

    /// Writes its type byte as well, which no [`RecordKind`] need have.
    fn put_type(&mut self, at: usize, type_: u8) {
        self.bytes[at + 4] = type_;
        let mut sealed = self.bytes[at..at + 60].to_vec();
        sealed.extend_from_slice(&self.binding.store);
        sealed.push(if self.binding.kind == FileKind::Journal {
            1
        } else {
            2
        });
        sealed.extend_from_slice(&self.binding.file.to_le_bytes());
        sealed.extend_from_slice(&(at as u64).to_le_bytes());
        let crc = crc32c::crc32c(&sealed).to_le_bytes();
        self.bytes[at + 60..at + 64].copy_from_slice(&crc);
    }

    fn footer(&self) -> usize {
        let at = self.bytes.len() - Trailer::LEN;
        Trailer::decode(&self.bytes[at..], &self.binding, at as u64)
            .unwrap()
            .footer as usize
    }

    /// Cuts footer and trailer off, as if the daemon had been killed.
    fn unseal(&mut self) {
        let footer = self.footer();
        self.bytes.truncate(footer);
    }

    /// Where the last group and its last record begin.
    fn last(&self) -> (usize, usize) {
        let (mut at, end, mut found) = (4096, self.footer(), None);
        while at < end {
            assert_eq!(self.header(at).kind, RecordKind::Group);
            let body = at + Group::RECORD_LEN as usize;
            let group = Group::decode(&self.bytes[at + RECORD_HEADER_LEN..body]).unwrap();
            let behind = body + group.body_len as usize;
            let mut record = body;
            loop {
                let next = record + self.header(record).record_len() as usize;
                if next >= behind {
                    break;
                }
                record = next;
            }
            found = Some((at, record));
            at = block_end(behind as u64) as usize;
        }
        found.expect("a journal with a group")
    }

    /// Changes the last record with `change` and makes its group whole again.
    fn change_last(&mut self, change: impl FnOnce(&mut Self, usize)) {
        let (at, record) = self.last();
        change(self, record);
        let body = at + Group::RECORD_LEN as usize;
        let mut group = Group::decode(&self.bytes[at + RECORD_HEADER_LEN..body]).unwrap();
        group.body_crc = crc32c::crc32c(&self.bytes[body..body + group.body_len as usize]);
        let payload = group.encode();
        self.bytes[at + RECORD_HEADER_LEN..body].copy_from_slice(&payload);
        let mut header = self.header(at);
        header.payload_crc = crc32c::crc32c(&payload);
        header.digest = (*blake3::hash(&payload).as_bytes()).into();
        self.put(at, &header);
    }

    /// Makes the payload at `at` one of another version.
    fn later(&mut self, at: usize) {
        let mut header = self.header(at);
        header.version = 2;
        self.put(at, &header);
    }
}

#[track_caller]
fn refused(daemon: &mut Daemon, why: &str) {
    daemon.spawn();
    let status = daemon.wait(PATIENCE).expect("it does not serve");
    assert!(!status.success());
    assert!(daemon.stderr().contains(why), "{}", daemon.stderr());
}

/// Asks the fixture for a file of several chunks.
fn get(daemon: &Daemon) -> u16 {
    daemon
        .send(&Request::get(&file_path("alice", "Tool", "1.5", "App.bin")))
        .status
}

#[test]
fn records_of_a_later_version_are_refused_and_left_alone() {
    type Change = fn(&mut Log);
    let changes: [(&str, Change); 3] = [
        ("an unknown type", |log| {
            log.change_last(|log, at| log.put_type(at, 99));
            log.unseal();
        }),
        ("a later payload", |log| {
            log.change_last(Log::later);
            log.unseal();
        }),
        ("a later payload, and a footer that repeats it", |log| {
            log.change_last(Log::later);
            let footer = log.footer();
            log.later(footer);
        }),
    ];
    for (what, change) in changes {
        let mut daemon = fixture::prepared();
        let mut log = Log::of(&daemon.data(), FileKind::Journal);
        change(&mut log);
        fs::write(daemon.data().join(JOURNAL), &log.bytes).unwrap();
        refused(&mut daemon, "has records that this version of larder cannot read");
        assert!(
            fs::read(daemon.data().join(JOURNAL)).unwrap() == log.bytes,
            "{what}"
        );
    }
}

#[test]
fn a_footer_of_a_later_version_is_passed_over() {
    for kind in [FileKind::Journal, FileKind::Segment] {
        let mut daemon = fixture::prepared();
        let mut log = Log::of(&daemon.data(), kind);
        let footer = log.footer();
        log.later(footer);
        let path = daemon.data().join(if kind == FileKind::Journal {
            JOURNAL
        } else {
            SEGMENT
        });
        fs::write(path, &log.bytes).unwrap();
        daemon.start();
        assert_eq!(get(&daemon), 200, "{kind:?}");
        if kind == FileKind::Journal {
            assert!(
                daemon
                    .stderr()
                    .contains("the footer of a journal file is damaged")
            );
        }
    }
}

#[test]
fn a_header_of_a_later_version_amid_the_log_is_damage_and_costs_no_record() {
    let mut daemon = fixture::prepared();
    // Three journal files, so that one is neither the oldest nor the newest.
    for version in ["2.0", "2.1"] {
        daemon.start();
        let put = Request::put(&file_path("alice", "Tool", version, "F"), "body");
        let put = put.header("Authorization", bearer(&fixture::token()));
        assert_eq!(daemon.send(&put).status, 201);
        daemon.terminate();
    }
    let data = daemon.data();
    let mut names: Vec<_> = fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    assert!(names.len() > 2, "{names:?}");
    let harmed = [names[1].clone(), data.join(SEGMENT)];
    for path in &harmed {
        let mut bytes = fs::read(path).unwrap();
        bytes[8] = 3;
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        fs::write(path, bytes).unwrap();
    }
    let verified = output_within(binary().arg("verify").arg("--data").arg(&data), "");
    let text = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(1), "{text}");
    for path in &harmed {
        let name = path.strip_prefix(&data).unwrap().display().to_string();
        assert!(text.contains(&name), "{name}: {text}");
    }
    fs::remove_dir_all(data.join("index")).unwrap();
    daemon.start();
    assert_eq!(get(&daemon), 200);
    for version in ["2.0", "2.1"] {
        let target = file_path("alice", "Tool", version, "F");
        assert_eq!(daemon.send(&Request::get(&target)).body, b"body", "{version}");
    }
}

#[test]
fn other_keys_in_the_identity_are_refused() {
    let mut daemon = fixture::prepared();
    let path = daemon.data().join("store.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("secret =", "codec = 1\nsecret =")).unwrap();
    refused(&mut daemon, "unknown field `codec`");
}

#[test]
fn hints_that_do_not_read_are_as_good_as_none() {
    let mut daemon = Setup::default().start();
    let target = file_path("admin", "tool", "1", "F");
    assert_eq!(daemon.put(&target, "body"), 201);
    daemon.assert_serves(&target, b"body");
    daemon.terminate();
    let uses = daemon.data().join("last-uses");
    let mut later = fs::read(&uses).unwrap();
    later[8] = 2;
    let end = later.len() - 4;
    let crc = crc32c::crc32c(&later[..end]);
    later[end..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&uses, &later).unwrap();
    for name in ["scrub.json", "backup.json"] {
        fs::write(daemon.data().join(name), "{\"finished\":").unwrap();
    }
    daemon.start();
    let said = daemon.stderr();
    assert!(said.contains("damaged or of another version"), "{said}");
    assert_eq!(
        daemon.metric("larder_backup_last_success_timestamp_seconds", ""),
        0
    );
    daemon.assert_serves(&target, b"body");
    let scrub = daemon.data().join("scrub.json");
    let reads = || serde_json::from_slice::<serde_json::Value>(&fs::read(&scrub).unwrap()).is_ok();
    assert!(within(PATIENCE, reads), "it is written anew");
    daemon.terminate();
    assert_eq!(fs::read(&uses).unwrap()[8], 1, "it is replaced");
}

#[test]
fn a_backup_of_another_layout_is_refused_by_name() {
    let daemon = Setup::default().start();
    assert_eq!(
        daemon.put(&file_path("admin", "tool", "1", "F"), seeded_bytes(1, MIB)),
        201
    );
    let (dir, back) = (daemon.home().join("backup"), daemon.home().join("back"));
    let backup = || {
        output_within(
            binary().arg("backup").arg(&dir).arg("--data").arg(daemon.data()),
            "",
        )
    };
    assert!(backup().status.success());
    let manifest = dir.join("backup.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let changes = [
        (
            "\"format\": 1",
            "\"format\": 2",
            "the backup has layout 2; this version of larder reads layout 1",
        ),
        ("\"made\"", "\"parts\"", "unknown field `parts`"),
        ("\"journal/", "\"../journal/", "leads out of the backup"),
    ];
    for (from, to, why) in changes {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        fs::write(&manifest, &changed).unwrap();
        let restore = || output_within(binary().arg("restore").arg(&dir).arg(&back), "");
        for output in [restore(), backup()] {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(why), "{said}");
        }
        assert!(!back.exists(), "nothing is restored");
        assert_eq!(
            fs::read_to_string(&manifest).unwrap(),
            changed,
            "nothing is changed"
        );
    }
    fs::write(&manifest, text).unwrap();
    assert!(backup().status.success());
}
