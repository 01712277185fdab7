//! How fast background work on the store may go.

/// Says when background work may go on. Called from worker threads; may block.
pub trait Pace: Send + Sync {
    /// `bytes` were read or written, or work worth as much was done: waits until more may be. False: the work shall
    /// end soon, because the store is closing.
    fn spend(&self, bytes: u64) -> bool;
}

/// As fast as it goes, to the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unthrottled;

impl Pace for Unthrottled {
    fn spend(&self, _bytes: u64) -> bool {
        true
    }
}
