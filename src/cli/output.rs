//! What commands print: to a reader that may have seen enough, as `head` has.

use std::io::{self, Write};

/// Standard output. Once its reader has gone, what is written is dropped without an error: the command goes on and ends
/// with the exit code of what it did. Any other error, like a full disk, is one.
pub fn stdout() -> impl Write {
    Patient(io::stdout().lock())
}

struct Patient<W>(W);

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_gone(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_gone(self.0.flush(), ())
    }
}

fn unless_gone<T>(result: io::Result<T>, otherwise: T) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(otherwise),
        other => other,
    }
}
