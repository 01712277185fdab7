//! Which request the present task works for: its id, and the trace it belongs to.
//!
//! Whatever is logged while a request is worked on carries both, in every room, without being handed them. Nothing is
//! allocated for a request that brings neither.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The longest id that is taken from a client, in bytes.
pub const MAX_ID: usize = 128;

/// An id, and a trace if the client is part of one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestContext {
    id: RequestId,
    traceparent: Option<Arc<str>>,
}

/// What names a request in logs. Its text is letters, digits and `._~:@/+=-` only, so it needs no escaping anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// Made here; shown as 16 hexadecimal digits.
    Ours(u64),
    /// Sent by the client.
    Theirs(Arc<str>),
}

impl RequestContext {
    /// From the values of `X-Request-Id` and `traceparent`. What is malformed or too long is replaced or left out: it
    /// would end up in logs as it is.
    pub fn new(id: Option<&str>, traceparent: Option<&str>) -> Self {
        let theirs = id.filter(|id| is_id(id)).map(|id| RequestId::Theirs(id.into()));
        RequestContext {
            id: theirs.unwrap_or_else(|| RequestId::Ours(next())),
            traceparent: traceparent.filter(|value| is_traceparent(value)).map(Arc::from),
        }
    }

    /// The id.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// The `traceparent`, as sent.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// Works on the request: what `work` logs carries the id.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The same for a piece of work that does not wait.
    pub fn sync_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Ours(id) => write!(f, "{id:016x}"),
            RequestId::Theirs(id) => f.write_str(id),
        }
    }
}

/// The request that the present task works for, if it works for one.
pub fn current() -> Option<RequestContext> {
    CURRENT.try_with(Clone::clone).ok()
}

fn is_id(text: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._~:@/+=-".contains(&byte);
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(fit)
}

/// Version, trace id, parent id and flags, as the W3C has them in version 00.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, digits: usize| {
        part.len() == digits
            && part
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    let [Some("00"), Some(trace), Some(parent), Some(flags), None] = [(); 5].map(|()| parts.next()) else {
        return false;
    };
    hex(trace, 32) && some(trace) && hex(parent, 16) && some(parent) && hex(flags, 2)
}

/// A number that no other thread or run makes, as far as 64 random bits for each thread can tell: no clock, no lock.
fn next() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(seed());
    }
    // SplitMix64: the state counts, and its bits are mixed until neighbours have nothing in common.
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        // Ids need to differ, not to be secret.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_clients_are_taken_if_they_are_fit_for_a_log() {
        let long = "x".repeat(MAX_ID);
        for good in ["a", "f00-BA.r_~:@/+=", long.as_str()] {
            assert_eq!(RequestContext::new(Some(good), None).id().to_string(), good);
        }
        let longer = "x".repeat(MAX_ID + 1);
        for bad in ["", "two words", "a\nb", "\"", "{}", "é", longer.as_str()] {
            let id = RequestContext::new(Some(bad), None).id().to_string();
            assert!(id != bad && id.len() == 16, "{bad:?} became {id:?}");
        }
    }

    #[test]
    fn ids_of_ours_do_not_come_twice() {
        let make = || (0..10_000).map(|_| next()).collect::<Vec<_>>();
        let other = std::thread::spawn(make);
        let all: HashSet<u64> = make().into_iter().chain(other.join().unwrap()).collect();
        assert_eq!(all.len(), 20_000);
    }

    #[test]
    fn a_traceparent_is_kept_if_it_is_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(RequestContext::new(None, Some(good)).traceparent(), Some(good));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(RequestContext::new(None, Some(bad)).traceparent(), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_task_knows_its_request_and_only_that() {
        let context = RequestContext::new(Some("one"), None);
        let inside = context.clone().scope(async {
            tokio::task::yield_now().await;
            current().unwrap().id().to_string()
        });
        let other =
            RequestContext::new(Some("two"), None).scope(async { current().unwrap().id().to_string() });
        assert_eq!(tokio::join!(inside, other), ("one".to_owned(), "two".to_owned()));
        assert!(current().is_none());
        assert!(context.sync_scope(|| current().is_some()));
    }
}
