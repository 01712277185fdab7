//! Which actor decides for which owner: found, or started on demand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, System};

use super::actor::OwnerActor;
use super::gate::Gate;
use super::names::Names;
use super::owners::OwnerError;
use super::rules::Rules;
use crate::store::model::Id;

/// Owners that do not share a shard do not wait for each other. A lock is held for a look-up or the start of an actor.
const SHARDS: u64 = 32;

/// Finds and starts actors.
#[derive(Debug)]
pub struct Directory {
    shards: Arc<Shards>,
    names: Arc<dyn Names>,
    rules: Arc<Rules>,
    uploads_per_owner: usize,
    idle: Duration,
}

/// The entries, by owner.
#[derive(Debug)]
pub struct Shards(Vec<Mutex<HashMap<Id, Seat>>>);

/// An owner's place in the directory.
#[derive(Debug)]
struct Seat {
    actor: Addr<OwnerActor>,
    /// Outlives an actor that dies, so that the bound holds across its death.
    gate: Gate,
}

/// An actor that does not retire while this is held.
#[derive(Debug)]
pub struct Lease {
    /// Where to send messages.
    pub actor: Addr<OwnerActor>,
    /// The owner's uploads.
    pub gate: Gate,
}

impl Directory {
    /// An empty directory. Its actors retire after `idle` without a message.
    pub fn new(names: Arc<dyn Names>, rules: Arc<Rules>, uploads_per_owner: usize, idle: Duration) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Directory {
            shards: Arc::new(Shards(shards)),
            names,
            rules,
            uploads_per_owner,
            // Zero would keep a held actor looking all the time.
            idle: idle.max(Duration::from_millis(1)),
        }
    }

    /// The actor of an owner, started if there is none or if the last one died: a handler that panics ends its actor
    /// for good, under a supervisor too, so the address is tested each time.
    ///
    /// # Errors
    /// `Closed` outside an actix system, where no actor can run.
    pub fn lease(&self, owner: Id) -> Result<Lease, OwnerError> {
        let mut shard = self.shards.shard(owner);
        let seat = match shard.entry(owner) {
            Entry::Occupied(entry) => {
                let seat = entry.into_mut();
                if !seat.actor.connected() {
                    seat.actor = self.start(owner)?;
                }
                seat
            }
            Entry::Vacant(entry) => entry.insert(Seat {
                actor: self.start(owner)?,
                gate: Gate::new(self.uploads_per_owner),
            }),
        };
        Ok(Lease {
            actor: seat.actor.clone(),
            gate: seat.gate.clone(),
        })
    }

    /// Starts an actor on the asking thread's arbiter: a message to the same thread costs 0.7 µs, to another one
    /// 20 to 27 µs, and most owners are written to by few connections at a time. When that thread ends before the
    /// others at shutdown, the address is found dead and the actor starts again elsewhere.
    fn start(&self, owner: Id) -> Result<Addr<OwnerActor>, OwnerError> {
        let arbiter = Arbiter::try_current()
            .or_else(|| System::try_current().map(|system| system.arbiter().clone()))
            .ok_or(OwnerError::Closed)?;
        let (names, rules) = (self.names.clone(), self.rules.clone());
        let directory = Arc::downgrade(&self.shards);
        let idle = self.idle;
        Ok(OwnerActor::start_in_arbiter(&arbiter, move |_| {
            OwnerActor::new(owner, names, rules, directory, idle)
        }))
    }
}

impl Shards {
    /// Takes an idle actor off the directory, unless somebody holds it. After `true` nobody can find it any more, and
    /// since leases are given under the same lock, no message is on its way.
    pub fn sign_off(&self, owner: Id, actor: &Addr<OwnerActor>) -> bool {
        let mut shard = self.shard(owner);
        match shard.get(&owner) {
            Some(seat) if seat.actor == *actor && !seat.gate.is_unused() => false,
            Some(seat) if seat.actor == *actor => {
                shard.remove(&owner);
                true
            }
            // Another actor has the seat already.
            _ => true,
        }
    }

    fn shard(&self, owner: Id) -> MutexGuard<'_, HashMap<Id, Seat>> {
        let index = (owner % SHARDS) as usize;
        // A shard is never left half changed, so what a panicking thread held is still good.
        self.0[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Directory {
    /// Owners with a seat.
    pub fn seats(&self) -> usize {
        (0..SHARDS).map(|owner| self.shards.shard(owner).len()).sum()
    }
}
