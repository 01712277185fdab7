//! The verbs' metric families.

use std::sync::LazyLock;

use prometheus::Histogram;

use crate::telemetry::metrics::{SIZES, histogram};

static ARTIFACT_BYTES: LazyLock<Histogram> =
    LazyLock::new(|| histogram("larder_artifact_bytes", "Length of a published file.", &SIZES));

/// Shows the families before the first publication.
pub fn init() {
    LazyLock::force(&ARTIFACT_BYTES);
}

/// A file was published.
pub fn published(size: u64) {
    ARTIFACT_BYTES.observe(size as f64);
}
