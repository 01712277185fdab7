//! Configuration: raw (serde) to validated.
