//! The least that a durable 4 KiB can cost here: overwriting space that was written before, then fdatasync.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::Fail;
use crate::body::PAGE;
use crate::stats::Tally;

/// How often it is done.
const WRITES: u64 = 500;

/// Measures it in a file of its own below `dir`.
pub fn overwrite_and_sync(dir: &Path) -> Result<Tally, Fail> {
    let mut tally = Tally::new()?;
    let file = tempfile::tempfile_in(dir)?;
    let page = [0x5a; PAGE];
    for number in 0..WRITES {
        file.write_all_at(&page, number * PAGE as u64)?;
    }
    file.sync_all()?;
    for number in 0..WRITES {
        let begun = Instant::now();
        write_and_sync(&file, number * PAGE as u64, &page)?;
        tally.record(begun.elapsed(), Ok(PAGE as u64));
    }
    Ok(tally)
}

fn write_and_sync(file: &File, offset: u64, page: &[u8]) -> io::Result<()> {
    file.write_all_at(page, offset)?;
    file.sync_data()
}
