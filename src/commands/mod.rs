//! What each subcommand does.

mod channels;
mod check;
mod dead;
mod key;
mod lanes;
mod migrate;
mod replay;
mod tail;
mod up;

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::Result;
use tributary_bus::{AmqpBus, Bus, BusState, EmbeddedBus};
use tributary_config::{DEFAULT_TOML, Invalid, Settings, Source};

use crate::{
    cli::{Arguments, Command},
    roles,
};

/// Runs the command to its end.
///
/// # Errors
/// Whatever kept it from doing its work, in words for a person.
pub async fn execute(arguments: Arguments) -> Result<ExitCode> {
    if let Command::Config = arguments.command {
        print!("{DEFAULT_TOML}");
        return Ok(ExitCode::SUCCESS);
    }
    let settings = match load(arguments.config.as_deref()) {
        Ok(settings) => Arc::new(settings),
        Err(invalid) => {
            eprintln!("{invalid}");
            return Ok(ExitCode::from(2));
        }
    };
    match arguments.command {
        Command::Config => {}
        Command::Check => check::check(&settings),
        Command::Up => up::up(settings).await?,
        Command::Run(role) => roles::run(settings, &[role]).await?,
        Command::Migrate => migrate::migrate(&settings).await?,
        Command::Tail(options) => tail::tail(&settings, &options).await?,
        Command::Channels => channels::channels(&settings).await?,
        Command::Replay(options) => replay::replay(&settings, &options).await?,
        Command::Dead(command) => dead::dead(&settings, &command).await?,
        Command::Key(command) => key::key(&settings, &command).await?,
        Command::Lanes(command) => lanes::lanes(&settings, &command).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the settings, and lets every connector check its accounts: nothing starts on a wrong config.
fn load(file: Option<&Path>) -> Result<Settings, Invalid> {
    let source = Source {
        file,
        environment: std::env::vars().collect(),
    };
    tributary_config::load_with(&source, |settings| {
        let mut problems = tributary_base::media::check(settings);
        problems.extend(tributary_connectors::registry::check(settings));
        problems
    })
}

/// The bus, for a command that looks at it from outside; fails when it is not there.
async fn visit_bus(settings: &Settings) -> Result<Arc<dyn Bus>> {
    if settings.bus.is_embedded() {
        let path = settings.data.dir.join("bus.db");
        anyhow::ensure!(
            path.exists(),
            "there is no embedded bus in {}; start `tributary up` there first, or set data.dir or bus.url",
            settings.data.dir.display()
        );
        return Ok(EmbeddedBus::open_for_management(&path).await?);
    }
    let bus = AmqpBus::connect(&settings.bus);
    let mut state = bus.state();
    let ready = state.wait_for(|state| *state == BusState::Ready);
    let addresses = u32::try_from(settings.bus.addresses().count()).unwrap_or(1);
    let deadline = settings.bus.connect_deadline * addresses.max(1);
    if tokio::time::timeout(deadline, ready).await.is_err() {
        let reason = match bus.state().borrow().clone() {
            BusState::Away { reason } | BusState::Blocked { reason } => reason,
            BusState::Connecting | BusState::Ready => "no answer".to_owned(),
        };
        anyhow::bail!(
            "the broker cannot be reached: {reason}; check bus.url and that it is running"
        );
    }
    Ok(bus)
}
