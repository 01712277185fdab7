//! What is asked of the server: steps, the series of objects they write and read, and the next request of a step.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::body::{Body, Edit, PAGE};
use crate::draw::{Keys, Random, Sizes, mix};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Store new bodies under new names.
    Put,
    /// Read what is stored, and compare it.
    Get,
    /// Ask for the head only.
    Head,
    /// Remove what is stored.
    Delete,
    /// Ask for names that do not exist.
    Miss,
    /// Store bodies under new names that the server already has under another.
    Known,
    /// Store bodies under new names of which 99 % are already stored.
    Similar,
    /// Reads and new bodies mixed.
    Mixed,
}

/// One step: a kind, sizes and a number of clients, written `put:4KiB:64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is done.
    pub kind: Kind,
    /// How large the bodies are.
    pub sizes: Sizes,
    /// How many connections do it at the same time.
    pub clients: u64,
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let kind = parts.next().unwrap_or_default();
        Ok(Step {
            kind: <Kind as clap::ValueEnum>::from_str(kind, false)?,
            sizes: parts.next().unwrap_or("4KiB").parse()?,
            clients: match parts.next().unwrap_or("32").parse() {
                Ok(clients @ 1..=10_000) => clients,
                _ => {
                    return Err(format!(
                        "{text}: expected KIND:SIZE:CLIENTS with 1 to 10000 clients"
                    ));
                }
            },
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = format!("{:?}", self.kind).to_lowercase();
        write!(f, "{kind}:{}:{}", self.sizes, self.clients)
    }
}

/// Objects numbered from zero. Everything about an object follows from its series and number, so a series of millions
/// takes no memory.
#[derive(Clone, Debug)]
pub struct Series {
    /// Distinguishes the series of a run; part of the names.
    pub id: u64,
    /// The sizes of its bodies.
    pub sizes: Sizes,
    /// What is in them.
    pub content: Content,
}

/// What the bodies of a series have in common with others.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing.
    Unique,
    /// They are the first `pool` bodies of series `of`, again and again.
    Known { of: u64, pool: u64 },
    /// As `Known`, but 1 % of the pages differ, in one run at a drawn place.
    Similar { of: u64, pool: u64 },
}

/// An object to be stored or read.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its series.
    pub series: u64,
    /// Its number in the series.
    pub number: u64,
    /// Its bytes.
    pub body: Body,
}

impl Series {
    /// Object `number` of the series.
    pub fn object(&self, number: u64) -> Object {
        let (series, member) = match self.content {
            Content::Unique => (self.id, number),
            Content::Known { of, pool } | Content::Similar { of, pool } => (of, number % pool),
        };
        let mut body = Body {
            size: self.sizes.of(member),
            identity: identity(series, member),
            edit: None,
        };
        if let Content::Similar { .. } = self.content {
            body.edit = Some(edit(&body, identity(self.id, number)));
        }
        Object {
            series: self.id,
            number,
            body,
        }
    }
}

fn identity(series: u64, number: u64) -> u64 {
    mix(series << 40 | number)
}

/// One per cent of the pages (at least one) in one run, at a place drawn from the new identity.
fn edit(body: &Body, identity: u64) -> Edit {
    let pages = body.size.div_ceil(PAGE as u64).max(1);
    let changed = (pages / 100).max(1);
    let start = mix(identity ^ 1) % (pages - changed + 1);
    let pages: Range<u64> = start..start + changed;
    Edit { identity, pages }
}

/// The request to send next.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to do with the object.
    pub verb: Verb,
    /// The object.
    pub object: Object,
}

/// What is done to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Put,
    Get,
    Head,
    Delete,
    /// A GET that must be answered with 404.
    Miss,
}

impl Verb {
    /// The method of the request.
    pub fn method(self) -> &'static str {
        match self {
            Verb::Put => "PUT",
            Verb::Get | Verb::Miss => "GET",
            Verb::Head => "HEAD",
            Verb::Delete => "DELETE",
        }
    }

    /// True for the status codes that mean success.
    pub fn accepts(self, status: u16) -> bool {
        match self {
            Verb::Put => matches!(status, 200 | 201 | 204),
            Verb::Get | Verb::Head => status == 200,
            Verb::Delete => matches!(status, 200 | 204),
            Verb::Miss => status == 404,
        }
    }
}

/// Deals out the requests of a step to its clients.
#[derive(Debug)]
pub struct Plan {
    kind: Kind,
    /// What is written, or removed, or missed.
    fresh: Series,
    /// What is read.
    stock: Option<(Series, Keys)>,
    /// Of a hundred requests of a mixed step, how many read.
    reads: u64,
    limit: u64,
    dealt: AtomicU64,
    written: AtomicU64,
}

impl Plan {
    /// At most `limit` requests of `kind` on `fresh`, or on `stock` for those that read.
    pub fn new(kind: Kind, fresh: Series, stock: Option<(Series, Keys)>, reads: u64, limit: u64) -> Self {
        Plan {
            kind,
            fresh,
            stock,
            reads,
            limit,
            dealt: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// The next request, until the limit is reached.
    pub fn next(&self, random: &mut Random) -> Option<Job> {
        let number = self.dealt.fetch_add(1, Ordering::Relaxed);
        if number >= self.limit {
            return None;
        }
        let verb = match self.kind {
            Kind::Put | Kind::Known | Kind::Similar => Verb::Put,
            Kind::Get => Verb::Get,
            Kind::Head => Verb::Head,
            Kind::Delete => Verb::Delete,
            Kind::Miss => Verb::Miss,
            Kind::Mixed if random.below(100) < self.reads => Verb::Get,
            Kind::Mixed => Verb::Put,
        };
        let object = match (&self.stock, verb) {
            (Some((stock, keys)), Verb::Get | Verb::Head) => stock.object(keys.draw(random)),
            (_, Verb::Put) => self.fresh.object(self.written.fetch_add(1, Ordering::Relaxed)),
            _ => self.fresh.object(number),
        };
        Some(Job { verb, object })
    }

    /// How many objects of the fresh series have been given out to be written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}
