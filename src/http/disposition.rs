//! stub
pub fn attachment(_n: &str) -> String { todo!() }
