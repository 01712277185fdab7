//! Programs and rights that some tests need and not every machine has.

use std::process::{Command, Stdio};

/// Whether all of these can be run; says so loudly when a test is skipped for want of one.
pub fn found(test: &str, programs: &[&str]) -> bool {
    for program in programs {
        let known = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .stdout(Stdio::null())
            .status();
        if !known.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: {test}: there is no {program} here");
            return false;
        }
    }
    true
}

/// Runs a command to its end; whether it succeeded.
pub fn runs(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
