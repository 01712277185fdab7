//! stub
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct BadChecksum;
pub fn expected(_h: &actix_web::http::header::HeaderMap) -> Result<crate::artifact::ExpectedChecksums, BadChecksum> { todo!() }
