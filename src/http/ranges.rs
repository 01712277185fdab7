//! stub
use std::ops::Range;
pub enum Plan { Whole, Single(Range<u64>), Multiple(Vec<Range<u64>>), Unsatisfiable }
pub fn plan(_h: Option<&str>, _l: u64) -> Plan { todo!() }
pub struct Multipart;
impl Multipart {
  pub fn new(_c: &str, _l: u64, _r: Vec<Range<u64>>) -> Self { todo!() }
  pub fn content_length(&self) -> u64 { todo!() }
  pub fn content_type(&self) -> String { todo!() }
  pub fn ranges(&self) -> &[Range<u64>] { todo!() }
  pub fn part_head(&self, _i: usize) -> String { todo!() }
  pub fn end(&self) -> String { todo!() }
}
