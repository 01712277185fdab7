//! Work that is worth doing once: whoever asks for the same meanwhile waits for it, and only so much is done at a time.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};

use crate::chunk::Digest;

/// Lanes, by the digest of what is asked for. Two things that share one wait for each other; more lanes than turns make
/// that rare.
const LANES: usize = 64;

/// Turns at the work. Clones share them.
#[derive(Clone, Debug)]
pub struct Once(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lanes: [Mutex<()>; LANES],
    turns: Semaphore,
}

impl Once {
    /// At most `turns` at a time.
    pub fn new(turns: usize) -> Self {
        Once(Arc::new(Shared {
            lanes: std::array::from_fn(|_| Mutex::new(())),
            turns: Semaphore::new(turns),
        }))
    }

    /// What is `known` of `digest`; if nothing is, what `make` makes of it, which should then be known. A caller that goes
    /// away leaves the work to the next one.
    ///
    /// # Errors
    /// Those of `known` and `make`.
    pub async fn get<T, E>(
        &self,
        digest: &Digest,
        known: impl Fn() -> Result<Option<T>, E>,
        make: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(known) = known()? {
            return Ok(known);
        }
        let lane = usize::from(digest.as_bytes()[0]) % LANES;
        let _lane = self.0.lanes[lane].lock().await;
        if let Some(known) = known()? {
            return Ok(known);
        }
        // The semaphore is never closed.
        let _turn = self.0.turns.acquire().await.ok();
        make().await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::HashMap;
    use std::convert::Infallible;

    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn what_many_ask_for_at_once_is_made_once_and_few_things_at_a_time() {
        let once = Once::new(2);
        let known: RefCell<HashMap<Digest, usize>> = RefCell::default();
        let (made, under_way, most) = (Cell::new(0), Cell::new(0_usize), Cell::new(0_usize));
        let ask = |number: usize| {
            let (once, known, made, under_way, most) = (&once, &known, &made, &under_way, &most);
            async move {
                let digest = Digest::of(&[(number % 10) as u8]);
                let make = async || {
                    under_way.set(under_way.get() + 1);
                    most.set(most.get().max(under_way.get()));
                    for _ in 0..5 {
                        yield_now().await;
                    }
                    under_way.set(under_way.get() - 1);
                    made.set(made.get() + 1);
                    known.borrow_mut().insert(digest, number % 10);
                    Ok::<_, Infallible>(number % 10)
                };
                let answer = once
                    .get(&digest, || Ok(known.borrow().get(&digest).copied()), make)
                    .await;
                assert_eq!(answer, Ok(number % 10));
            }
        };
        join_all((0..100).map(ask)).await;
        assert_eq!((made.get(), most.get()), (10, 2));
    }

    #[tokio::test]
    async fn whoever_goes_away_leaves_it_to_the_next() {
        let once = Once::new(1);
        let digest = Digest::of(b"x");
        let nothing = || Ok::<Option<u8>, Infallible>(None);
        let mut first = Box::pin(once.get(&digest, nothing, async || std::future::pending().await));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut second = Box::pin(once.get(&digest, nothing, async || Ok(7)));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await, Ok(7));
    }
}
