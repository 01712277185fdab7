//! HTTP: the only room that says actix_web or a status code.
