//! The composition root: opens the store, starts actors and http; the order of shutdown.
