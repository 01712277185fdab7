//! The index over the log. The only room that says sled.
