//! What owners hold, as metrics: of those that are asked for, and of all others together. A few series, however many
//! owners there are.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::{IntGaugeVec, Opts};

use super::throttle::Stop;
use crate::owner::Limits;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::{Id, Totals};
use crate::telemetry::metrics::labelled_gauges;

/// How often the figures are looked up.
const EVERY: Duration = Duration::from_secs(15);
/// The label of all others. No owner's name begins so.
const OTHERS: &str = "_other";

/// Whose figures are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// Nobody's: only all together, as [`OTHERS`].
    #[default]
    Nobody,
    /// So many owners, those that hold most.
    Largest(usize),
    /// These, by name.
    Named(Vec<String>),
}

impl Shown {
    /// Owners shown at most.
    pub const MOST: usize = 100;
}

struct Families {
    bytes: IntGaugeVec,
    files: IntGaugeVec,
    versions: IntGaugeVec,
    limit_bytes: IntGaugeVec,
    limit_versions: IntGaugeVec,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let gauges = |name, help| labelled_gauges(Opts::new(name, help), &["owner"]);
    Families {
        bytes: gauges(
            "larder_owner_held_bytes",
            "Bytes of the files of an owner, each counted in full; of those named by metrics.owners, and _other.",
        ),
        files: gauges("larder_owner_held_files", "Files of an owner."),
        versions: gauges("larder_owner_held_versions", "Versions of an owner."),
        limit_bytes: gauges(
            "larder_owner_limit_bytes",
            "Bytes that an owner may hold; 0: as many as it likes.",
        ),
        limit_versions: gauges(
            "larder_owner_limit_versions",
            "Versions that an owner may hold; 0: as many as it likes.",
        ),
    }
});

/// One owner's figures.
struct Usage {
    owner: String,
    held: Totals,
    limits: Limits,
}

/// The running thread.
#[derive(Debug)]
pub struct OwnerUsage {
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl OwnerUsage {
    /// Starts it. `limits`: what holds for owners for whom nothing is set.
    pub fn start(store: Store, shown: Shown, limits: Limits) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let stopped = stop.clone();
        let mut known = BTreeSet::new();
        look(&store, &shown, limits, &mut known);
        let thread = std::thread::Builder::new()
            .name("larder-owners".to_owned())
            .spawn(move || {
                while !stopped.wait(EVERY) {
                    look(&store, &shown, limits, &mut known);
                }
            })?;
        Ok(OwnerUsage { stop, thread })
    }

    /// Ends it. Blocks, for moments.
    pub fn stop(self) {
        self.stop.stop();
        if self.thread.join().is_err() {
            tracing::error!("the thread that looks what owners hold panicked");
        }
    }
}

/// Shows what is so now; `known`: who is shown.
fn look(store: &Store, shown: &Shown, limits: Limits, known: &mut BTreeSet<String>) {
    match usages(store, shown, limits) {
        Ok(usages) => {
            show(&usages);
            let now = usages.into_iter().map(|usage| usage.owner).collect();
            forget(known.difference(&now));
            *known = now;
        }
        // While the index is built again the last figures stand.
        Err(error) => tracing::debug!(%error, "what owners hold could not be looked up"),
    }
}

/// The figures of those who are shown, then of all others.
fn usages(store: &Store, shown: &Shown, limits: Limits) -> Result<Vec<Usage>, StoreError> {
    let mut others = Totals::default();
    let mut wanted: HashMap<Id, Totals> = match shown {
        Shown::Nobody => HashMap::new(),
        Shown::Largest(count) => store.largest_owners(*count)?.into_iter().collect(),
        Shown::Named(names) => {
            let mut found = HashMap::new();
            for name in names {
                if let Some(account) = store.account(name)? {
                    found.insert(account.id, Totals::default());
                }
            }
            found
        }
    };
    store.each_owner(|owner, held| match wanted.get_mut(&owner) {
        Some(shown) => *shown = held,
        None => {
            others.bytes += held.bytes;
            others.files += held.files;
            others.versions += held.versions;
        }
    })?;
    let mut usages = Vec::new();
    for (owner, held) in wanted {
        if let Some(account) = store.account_by_id(owner)? {
            usages.push(Usage {
                owner: account.name,
                held,
                limits: limits.unless_set(&store.settings(owner)?),
            });
        }
    }
    usages.push(Usage {
        owner: OTHERS.to_owned(),
        held: others,
        limits: Limits::default(),
    });
    Ok(usages)
}

fn show(usages: &[Usage]) {
    let Families {
        bytes,
        files,
        versions,
        limit_bytes,
        limit_versions,
    } = &*FAMILIES;
    for usage in usages {
        let of = |family: &IntGaugeVec, value: u64| {
            let gauge = family.with_label_values(&[&usage.owner]);
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        of(bytes, usage.held.bytes);
        of(files, usage.held.files);
        of(versions, usage.held.versions);
        of(limit_bytes, usage.limits.bytes.unwrap_or(0));
        of(limit_versions, usage.limits.versions.unwrap_or(0));
    }
}

/// Owners that are no longer shown.
fn forget<'a>(owners: impl Iterator<Item = &'a String>) {
    let Families {
        bytes,
        files,
        versions,
        limit_bytes,
        limit_versions,
    } = &*FAMILIES;
    for owner in owners {
        for family in [bytes, files, versions, limit_bytes, limit_versions] {
            // It was there: nobody else removes any.
            let _ = family.remove_label_values(&[owner]);
        }
    }
}
