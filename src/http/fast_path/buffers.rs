//! Buffers for bodies, used again.
//!
//! What is freed goes back to the kernel before long, and what comes from there is zeroed first. So each worker keeps the
//! buffers that it has given out, as long as any body is on its way to it, and looks whether their bytes have gone where
//! they belong: the last to hold them is another thread.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::BytesMut;

/// Room of a buffer, in bytes.
pub(super) const SIZE: usize = 256 << 10;

/// Buffers that one worker keeps at most.
const MOST: usize = 64;

/// Buffers that are looked at before a new one is made: the oldest are free first.
const TRIES: usize = 4;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

#[derive(Default)]
struct Kept {
    /// Bodies on their way.
    bodies: usize,
    /// Given back, the oldest first; perhaps not free yet.
    buffers: VecDeque<BytesMut>,
}

/// The right of one body to buffers of this worker. With the last of them all that are kept are let go.
#[derive(Debug)]
pub(super) struct Buffers(());

impl Buffers {
    /// For one more body.
    pub fn new() -> Self {
        KEPT.with_borrow_mut(|kept| kept.bodies += 1);
        Buffers(())
    }

    /// An empty buffer.
    pub fn take(&self) -> BytesMut {
        let free = KEPT.with_borrow_mut(|kept| {
            for _ in 0..TRIES.min(kept.buffers.len()) {
                let mut buffer = kept.buffers.pop_front()?;
                if buffer.try_reclaim(SIZE) {
                    return Some(buffer);
                }
                kept.buffers.push_back(buffer);
            }
            None
        });
        free.unwrap_or_else(|| BytesMut::with_capacity(SIZE))
    }

    /// Gives a buffer back. What is left in it is of a body that broke off.
    pub fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        KEPT.with_borrow_mut(|kept| {
            if kept.buffers.len() < MOST {
                kept.buffers.push_back(buffer);
            }
        });
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        KEPT.with_borrow_mut(|kept| {
            kept.bodies -= 1;
            if kept.bodies == 0 {
                *kept = Kept::default();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        KEPT.with_borrow(|kept| kept.buffers.len())
    }

    #[test]
    fn what_a_broken_body_left_in_a_buffer_does_not_keep_it() {
        let (buffers, _other) = (Buffers::new(), Buffers::new());
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"left");
        let at = buffer.as_ptr();
        buffers.give_back(buffer);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len(), kept()), (at, 0, 0));
    }

    #[test]
    fn a_buffer_is_used_again_when_its_bytes_are_gone() {
        let (buffers, other) = (Buffers::new(), Buffers::new());
        let mut buffer = buffers.take();
        buffer.extend_from_slice(&[1; SIZE]);
        let bytes = buffer.split().freeze();
        let place = bytes.as_ptr();
        buffers.give_back(buffer);
        let second = buffers.take();
        assert!(second.as_ptr() != place && second.capacity() == SIZE);
        assert_eq!(bytes, vec![1; SIZE], "nobody writes where they are");
        drop((bytes, buffers));
        assert_eq!(kept(), 1, "there is another body");
        let again = other.take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (place, 0, SIZE));
        other.give_back(again);
        drop(other);
        assert_eq!(kept(), 0);
    }

    #[test]
    fn few_are_kept() {
        let buffers = Buffers::new();
        let all: Vec<BytesMut> = (0..2 * MOST).map(|_| buffers.take()).collect();
        all.into_iter().for_each(|buffer| buffers.give_back(buffer));
        assert_eq!(kept(), MOST);
        drop(buffers.take());
        assert_eq!(kept(), MOST - 1);
    }
}
