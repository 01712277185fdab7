#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::Store;
use crate::store::tests::{Quiet, find, open, publish};

fn back_up(store: &Store, data: &Path, dir: &Path) -> BackupReport {
    let (end, _hold) = store.snapshot().unwrap();
    backup(data, &end, dir, true, &Quiet).unwrap()
}

async fn put(store: &Store, version: &str, body: &[u8]) {
    publish(store, "p", version, "f", body).settled().await.unwrap();
}

async fn body(store: &Store, version: &str) -> Option<Vec<u8>> {
    let (_, _, file) = find(store, "p", version, "f")?;
    let mut reader = store.open_file(&file).unwrap().read(0..file.size);
    let mut body = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        body.extend_from_slice(&piece);
    }
    Some(body)
}

#[tokio::test]
async fn what_came_before_is_in_it_and_what_came_after_is_not() {
    let home = tempfile::tempdir().unwrap();
    let [data, dir, back] = ["data", "backup", "back"].map(|name| home.path().join(name));
    let store = open(&data);
    put(&store, "1", &[1; 3000]).await;
    let (end, _hold) = store.snapshot().unwrap();
    put(&store, "2", &[2; 3000]).await;
    backup(&data, &end, &dir, true, &Quiet).unwrap();
    restore(&dir, &back, false, &Quiet).unwrap();
    let restored = open(&back);
    assert_eq!(body(&restored, "1").await, Some(vec![1; 3000]));
    assert_eq!(body(&restored, "2").await, None);
    drop(restored);
    // The file of that moment has been sealed since, with more in it.
    store.close();
    backup(&data, &end, &home.path().join("later"), true, &Quiet).unwrap();
    let again = home.path().join("again");
    restore(&home.path().join("later"), &again, false, &Quiet).unwrap();
    assert_eq!(body(&open(&again), "2").await, None);
}

#[tokio::test]
async fn a_second_backup_copies_only_what_is_new_and_drops_what_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let [data, dir, back] = ["data", "backup", "back"].map(|name| home.path().join(name));
    let store = open(&data);
    put(&store, "1", &[1; 100_000]).await;
    store.close();
    drop(store);
    let store = open(&data);
    put(&store, "2", &[2; 3000]).await;
    let first = back_up(&store, &data, &dir);
    assert!(first.shared > 100_000, "the sealed file is linked: {first:?}");
    let second = back_up(&store, &data, &dir);
    assert_eq!((second.shared, second.copied, second.removed), (0, 0, 0));
    put(&store, "3", &[3; 3000]).await;
    let third = back_up(&store, &data, &dir);
    assert!(third.shared + third.copied < 50_000, "{third:?}");
    assert_eq!(third.removed, 1, "the shorter beginning of the active file");
    restore(&dir, &back, false, &Quiet).unwrap();
    let restored = open(&back);
    for (version, expected) in [
        ("1", vec![1; 100_000]),
        ("2", vec![2; 3000]),
        ("3", vec![3; 3000]),
    ] {
        assert_eq!(body(&restored, version).await, Some(expected), "{version}");
    }
}

#[tokio::test]
async fn a_backup_that_is_broken_off_leaves_the_former_one() {
    let home = tempfile::tempdir().unwrap();
    let [data, dir, back] = ["data", "backup", "back"].map(|name| home.path().join(name));
    let store = open(&data);
    put(&store, "1", &[1; 3000]).await;
    back_up(&store, &data, &dir);
    put(&store, "2", &[2; 3000]).await;
    // The manifest cannot be written: everything before that has been done.
    let obstacle = dir.join("backup.json.new");
    fs::create_dir(&obstacle).unwrap();
    let (end, hold) = store.snapshot().unwrap();
    backup(&data, &end, &dir, true, &Quiet).unwrap_err();
    drop(hold);
    restore(&dir, &back, false, &Quiet).unwrap();
    assert_eq!(body(&open(&back), "1").await, Some(vec![1; 3000]));
    fs::remove_dir(&obstacle).unwrap();
    back_up(&store, &data, &dir);
    let again = home.path().join("again");
    restore(&dir, &again, false, &Quiet).unwrap();
    assert_eq!(body(&open(&again), "2").await, Some(vec![2; 3000]));
}

#[tokio::test]
async fn a_damaged_backup_is_not_a_store() {
    let home = tempfile::tempdir().unwrap();
    let [data, dir, back] = ["data", "backup", "back"].map(|name| home.path().join(name));
    let store = open(&data);
    put(&store, "1", &[1; 3000]).await;
    back_up(&store, &data, &dir);
    let copy = fs::read_dir(dir.join("journal"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = fs::read(&copy).unwrap();
    bytes[5000] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let error = restore(&dir, &back, false, &Quiet).unwrap_err();
    assert!(error.to_string().contains("the checksum differs"), "{error}");
    assert!(!back.join("store.toml").exists());
    let error = restore(&dir, &back, false, &Quiet).unwrap_err();
    assert!(matches!(error, BackupError::Refused(_)), "not empty: {error}");
    let again = home.path().join("again");
    let restored = restore(&dir, &again, true, &Quiet).unwrap();
    assert!(!restored.damage.is_empty());
    assert!(again.join("store.toml").exists());
}

#[tokio::test]
async fn directories_of_others_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let [data, other, dir] = ["data", "other", "backup"].map(|name| home.path().join(name));
    let (store, stranger) = (open(&data), open(&other));
    back_up(&store, &data, &dir);
    for wrong in [&dir, &data] {
        let (end, _hold) = stranger.snapshot().unwrap();
        let error = backup(&other, &end, wrong, true, &Quiet).unwrap_err();
        assert!(matches!(error, BackupError::Refused(_)), "{error}");
    }
}
