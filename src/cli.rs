//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

/// Many channels, one stream: chat channels on one bus, with order and without loss.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    /// Settings that differ from the defaults (see `tributary config`).
    #[arg(
        long,
        short,
        global = true,
        env = "TRIBUTARY_CONFIG",
        value_name = "FILE"
    )]
    pub config: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start every role in this process; without settings, on the embedded bus and store.
    Up,
    /// Start one role of a fleet in this process.
    #[command(subcommand)]
    Run(Role),
    /// Bring the schema of the stores up to date.
    Migrate,
    /// Check the settings and report every mistake.
    Check,
    /// Print the default settings, with comments.
    Config,
    /// Show what moves on the bus, live.
    Tail(Tail),
    /// Show how every channel account is doing, and what to do about it.
    Channels,
    /// Read stored provider payloads again with the present parser, and store what it reads better.
    Replay(Replay),
    /// Look at and repair dead letters: messages that no worker could handle.
    #[command(subcommand)]
    Dead(Dead),
    /// Manage API keys.
    #[command(subcommand)]
    Key(Key),
    /// Show or change the number of inbound lanes that the fleet works with.
    #[command(subcommand)]
    Lanes(Lanes),
}

#[derive(Debug, Subcommand)]
pub enum Lanes {
    /// The number as each store keeps it, and that of the settings.
    Show,
    /// Change the number. Every router and connector must be stopped, and nothing may wait in the inbound lanes.
    Resize {
        /// The new number.
        #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
        lanes: u16,
    },
}

#[derive(Debug, Clone, Subcommand, PartialEq, Eq)]
pub enum Role {
    /// Assigns conversations, stores messages, publishes deliveries and events.
    Router,
    /// Adapts the accounts of one kind of channel, e.g. `telegram` or `widget`.
    Connector {
        /// The kind of channel.
        kind: String,
    },
    /// Delivers events to integrators' endpoints.
    Webhooks,
    /// Serves the REST API.
    Api,
}

#[derive(Debug, Args)]
pub struct Tail {
    /// Only what goes to lanes whose name starts with this: `inbound`, `delivery.acme-bot`, `events`, `dead`. Lanes are those of
    /// the config at hand; what endpoints get shows as `events`.
    #[arg(long, value_name = "PREFIX")]
    pub lane: Option<String>,
    /// Only this event type, or all that start with it: `message.received`.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Only this organization.
    #[arg(long, value_name = "ID")]
    pub organization: Option<String>,
    /// Show what people wrote, too. Mind who looks over your shoulder.
    #[arg(long)]
    pub content: bool,
    /// One JSON document per line instead of columns.
    #[arg(long)]
    pub json: bool,
    /// End after this many.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Colours.
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub colour: Colour,
}

#[derive(Debug, Args)]
pub struct Replay {
    /// The channel account.
    #[arg(long, value_name = "ID")]
    pub channel: String,
    /// What was received since then: a time (2026-03-01T12:00:00Z) or how long ago (2h, 7days).
    #[arg(long, value_name = "T")]
    pub since: String,
    /// Publish nothing; only show what would be read differently.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// The oldest dead letters, one line each.
    List {
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One dead letter, whole; content is hidden unless asked for.
    Show {
        id: Uuid,
        /// Show what people wrote, too.
        #[arg(long)]
        content: bool,
    },
    /// Put dead letters back into the lanes they came from, behind what waits there.
    #[command(visible_alias = "replay")]
    Requeue {
        /// The letters' ids.
        #[arg(required_unless_present = "all")]
        ids: Vec<Uuid>,
        /// Every dead letter (at most 10,000).
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Also those that arrive after later messages of their conversation.
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a key; it is shown once.
    Create {
        /// The organization it acts for.
        #[arg(long, value_name = "ID")]
        organization: String,
        /// What it is for, e.g. `crm`.
        #[arg(long)]
        name: String,
    },
    /// The keys of an organization (never the keys themselves).
    List {
        #[arg(long, value_name = "ID")]
        organization: String,
    },
    /// Make a key useless from now on.
    Revoke {
        #[arg(long, value_name = "ID")]
        organization: String,
        id: Uuid,
    },
}
