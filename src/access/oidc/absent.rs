//! In place of the verification, where it has been left out of the build: no token is accepted.

use super::super::clock::Clock;
use super::{Issuer, Rejected, Workload};

/// No issuers.
pub(in super::super) struct Issuers;

impl Issuers {
    pub(in super::super) fn new(_: Vec<Issuer>, _: Clock) -> Self {
        Issuers
    }

    pub(in super::super) fn are(&self, _: &[Issuer]) -> bool {
        true
    }

    pub(in super::super) async fn verify(&self, _: &str) -> Result<Workload, Rejected> {
        Err(Rejected::Unknown)
    }
}
