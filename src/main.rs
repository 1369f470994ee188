//! `tributary`: one program, each role a subcommand. Only this package wires rooms together.

mod cli;
mod commands;
mod message_log;
mod previews;
mod process;
mod roles;
mod stores;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    // TLS of every client goes through one provider, chosen here so that no crate chooses another.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("error: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(reason) => {
            eprintln!("error: cannot start the runtime: {reason}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::execute(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
