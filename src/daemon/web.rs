//! stub
use super::*;
pub struct Web;
impl Web {
    pub fn start(_c: &Config, _m: TcpListener, _n: Option<TcpListener>) -> Result<Self, Error> {
        Ok(Web)
    }
    pub fn ready(&self, _s: Store, _a: Access, _x: Artifacts) {}
    pub async fn stop(self) {}
}
