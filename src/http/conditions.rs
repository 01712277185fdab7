//! stub
use crate::chunk::Digest;
use actix_web::http::header::HeaderMap;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct BadCondition;
pub struct Validators { pub etag: Digest, pub modified_ms: i64 }
pub enum Outcome { Proceed, NotModified, PreconditionFailed }
pub fn read(_h: &HeaderMap, _v: &Validators) -> Outcome { todo!() }
pub fn range_applies(_h: &HeaderMap, _v: &Validators) -> bool { todo!() }
pub fn write_condition(_h: &HeaderMap) -> Result<crate::owner::WriteCondition, BadCondition> { todo!() }
pub fn etag(_d: &Digest) -> String { todo!() }
