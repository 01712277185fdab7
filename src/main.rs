//! The `larder` binary. Everything is in the library; see [`larder::cli`].

use std::process::ExitCode;

/// Uploads allocate and free buffers of many sizes on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    larder::cli::main()
}
