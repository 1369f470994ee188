//! The Telegram Bot API, version 10.1, as far as the connector meets it.
//!
//! Written from the Bot API documentation and the behaviour of its open-source server. One simulator serves several bots; what
//! they know survives their clients, as it does at the provider. [`User`] makes updates, [`Records`] tell what bots did.
//!
//! | simulated | how to use it |
//! |---|---|
//! | every way of giving arguments, uploads, `file_id`s, URLs on the loopback interface | call it as the provider |
//! | text, files, albums, places, contacts, copies, forwards, edits, deletions, reactions, typing, read marks | [`TelegramSimulator::sent`], [`TelegramSimulator::changes`] |
//! | the chat as a person sees it after all that | [`User::sees`], [`User::wait_until_sees`], [`Room::looks`] |
//! | what people do: text, files with real bytes, albums, live places, replies, quotes, forwards, edits, reactions, buttons, blocking | [`User`], [`Media`], [`sample`] |
//! | groups (privacy mode, topics, migration), channels, business accounts | [`BotHandle::group`] and its neighbours, [`Room`], [`BusinessAccount`] |
//! | `getFile` and downloads, expiry of links, files and callback queries | [`BotHandle::expire_links`] and its neighbours |
//! | polling and webhooks with the provider's order, retries and conflicts | [`Options`] sets its patience |
//! | limits of size and form with the provider's error texts | [`SizeLimits`] makes them smaller |
//! | limits of rate, where a test wants them | [`RateLimits`] |
//! | refusals of every kind, 429, 5xx, slowness, cut connections, repetitions, downloads that lie | [`Misbehave`], [`Refusal`] |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tributary_simulators::script::Times;
//! use tributary_simulators::telegram::{CallMatch, Media, Misbehave, Options, Refusal, TelegramSimulator, sample};
//!
//! let telegram = TelegramSimulator::start(Options::quick()).await?;
//! let olena = telegram.user(5_550_001_111);
//! olena.sends_media(Media::photo(sample::jpeg(800, 600, 1)).caption("Broken screen"));
//! let blocked = Misbehave::on(CallMatch::method("sendPhoto"), Times::Count(1), Refusal::BlockedByUser.into());
//! telegram.misbehave(blocked);
//! // The bot under test is pointed at `telegram.base_url()` with `telegram.token()`.
//! let chat = olena.wait_until_sees(Duration::from_secs(5), |chat| chat.from_bot().count() == 1).await?;
//! assert_eq!(chat.messages[1].buttons, [["Yes", "No"]]);
//! olena.presses_button(chat.messages[1].message_id, "Yes")?;
//! # Ok(())
//! # }
//! ```
//!
//! Not simulated: the old Markdown, inline mode, payments, polls sent by bots, paid media, stories, checklists, forum
//! management, recompression of photos, `chat_member` updates, removal of a webhook that answers 410,
//! and expiry of updates other than callback queries.

mod account;
mod answer;
mod attempt;
mod bot;
mod business;
mod chat;
mod delivery;
mod detect;
mod download;
mod files;
mod html;
mod kind;
mod markdown;
mod media;
mod methods;
mod misbehave;
mod options;
mod params;
mod person;
mod place;
mod rates;
mod records;
mod refusal;
mod room;
pub mod sample;
mod server;
mod text;
mod updates;
mod user;
mod view;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::account::Bot;
use crate::script::Script;
use crate::serve::Server;
use crate::wait::Bell;
use crate::{TimedOut, client, lock};

pub use self::bot::BotHandle;
pub use self::business::BusinessAccount;
pub use self::chat::Standing;
pub use self::kind::FileKind;
pub use self::media::Media;
pub use self::misbehave::{
    CallAction, CallMatch, DeliveryAction, DeliveryMatch, DownloadAction, Misbehave, When,
};
pub use self::options::{BotProfile, Options, RateLimits, SizeLimits};
pub use self::params::{Params, Upload};
pub use self::person::Person;
pub use self::records::{Call, Change, ChangeKind, Counters, Delivery, FileSeen, Records, Sent};
pub use self::refusal::Refusal;
pub use self::room::Room;
pub use self::user::{NotThere, Origin, Told, User};
pub use self::view::{ChatView, MessageView};

/// A running simulator. Dropping it stops it.
pub struct TelegramSimulator {
    simulation: Arc<Simulation>,
    first: Arc<Bot>,
    server: Server,
}

/// What all bots of one simulator share.
struct Shared {
    options: Options,
    records: Mutex<Records>,
    bell: Bell,
    calls: Script<CallMatch, CallAction>,
    deliveries: Script<DeliveryMatch, DeliveryAction>,
    downloads: Script<Option<FileKind>, DownloadAction>,
    http: reqwest::Client,
    tasks: TaskTracker,
    open: CancellationToken,
}

impl Shared {
    /// Notes something, and lets those look who wait for it.
    fn record(&self, step: impl FnOnce(&mut Records)) {
        step(&mut lock(&self.records));
        self.bell.ring();
    }
}

struct Simulation {
    shared: Arc<Shared>,
    bots: Mutex<HashMap<String, Arc<Bot>>>,
}

impl Simulation {
    fn bot(&self, token: &str) -> Option<Arc<Bot>> {
        lock(&self.bots).get(token).map(Arc::clone)
    }

    fn add(&self, profile: BotProfile) -> Arc<Bot> {
        let token = profile.token.clone();
        let bot = Arc::new(Bot::new(profile, Arc::clone(&self.shared)));
        lock(&self.bots).insert(token, Arc::clone(&bot));
        bot
    }
}

impl TelegramSimulator {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be had, or the options name no bot.
    pub async fn start(options: Options) -> io::Result<Self> {
        let no_bot = || io::Error::new(io::ErrorKind::InvalidInput, "the options name no bot");
        let first = options.bots.first().cloned().ok_or_else(no_bot)?;
        let others = options.bots.clone().into_iter().skip(1);
        let shared = Arc::new(Shared {
            records: Mutex::new(Records::new(options.max_records)),
            options,
            bell: Bell::new(),
            calls: Script::new(),
            deliveries: Script::new(),
            downloads: Script::new(),
            http: client::build()?,
            tasks: TaskTracker::new(),
            open: CancellationToken::new(),
        });
        let simulation = Arc::new(Simulation {
            shared,
            bots: Mutex::new(HashMap::new()),
        });
        let first = simulation.add(first);
        for profile in others {
            simulation.add(profile);
        }
        let server = Server::start(server::router(Arc::clone(&simulation))).await?;
        Ok(Self {
            simulation,
            first,
            server,
        })
    }

    /// Where the API is: `http://127.0.0.1:<port>`, without a slash at the end.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// Cuts every connection, stops listening and delivering. What was recorded can still be read.
    pub async fn stop(&self) {
        self.simulation.shared.open.cancel();
        self.server.stop().await;
        self.simulation.shared.tasks.close();
        self.simulation.shared.tasks.wait().await;
    }

    /// The first bot's token.
    pub fn token(&self) -> &str {
        &self.first.profile.token
    }

    /// Somebody who talks to the first bot: a [`Person`], or just the id of one.
    pub fn user(&self, person: impl Into<Person>) -> User {
        self.first_bot().user(person)
    }

    /// The first bot.
    pub fn first_bot(&self) -> BotHandle {
        BotHandle::new(Arc::clone(&self.first))
    }

    /// The bot with this token, if there is one.
    pub fn bot(&self, token: &str) -> Option<BotHandle> {
        self.simulation.bot(token).map(BotHandle::new)
    }

    /// One more bot, or a new one in place of the one with the same token.
    pub fn add_bot(&self, profile: BotProfile) -> BotHandle {
        BotHandle::new(self.simulation.add(profile))
    }

    /// Adds rules; those in force come first.
    pub fn misbehave(&self, script: Misbehave) {
        let shared = &self.simulation.shared;
        for rule in script.calls {
            shared.calls.add(rule);
        }
        for rule in script.deliveries {
            shared.deliveries.add(rule);
        }
        for rule in script.downloads {
            shared.downloads.add(rule);
        }
    }

    /// Takes all rules back.
    pub fn behave(&self) {
        self.simulation.shared.calls.clear();
        self.simulation.shared.deliveries.clear();
        self.simulation.shared.downloads.clear();
    }

    /// Every accepted message, in the order of acceptance.
    pub fn sent(&self) -> Vec<Arc<Sent>> {
        self.look(|records| records.sent.iter().map(Arc::clone).collect())
    }

    /// Every accepted message to one chat, likewise.
    pub fn sent_to(&self, chat_id: i64) -> Vec<Arc<Sent>> {
        self.look(|records| {
            records
                .sent
                .iter()
                .filter(|sent| sent.chat_id == chat_id)
                .map(Arc::clone)
                .collect()
        })
    }

    /// Every edit, deletion, reaction and the like, in the order of acceptance.
    pub fn changes(&self) -> Vec<Arc<Change>> {
        self.look(|records| records.changes.iter().map(Arc::clone).collect())
    }

    /// Those of one kind, likewise.
    pub fn changes_of(&self, kind: ChangeKind) -> Vec<Arc<Change>> {
        let fits = |change: &&Arc<Change>| change.kind == kind;
        self.look(|records| {
            records
                .changes
                .iter()
                .filter(fits)
                .map(Arc::clone)
                .collect()
        })
    }

    /// Every call, in the order of arrival.
    pub fn calls(&self) -> Vec<Arc<Call>> {
        self.look(|records| records.calls.iter().map(Arc::clone).collect())
    }

    /// Every call of one method, likewise; the name in any case.
    pub fn calls_of(&self, method: &str) -> Vec<Arc<Call>> {
        let named = |call: &&Arc<Call>| call.method.eq_ignore_ascii_case(method);
        self.look(|records| records.calls.iter().filter(named).map(Arc::clone).collect())
    }

    /// Every attempt of webhook delivery, in the order of their end.
    pub fn deliveries(&self) -> Vec<Arc<Delivery>> {
        self.look(|records| records.deliveries.iter().map(Arc::clone).collect())
    }

    /// The sums so far.
    pub fn counters(&self) -> Counters {
        self.look(|records| records.counters.clone())
    }

    /// Looks at what is recorded without copying it.
    pub fn look<T>(&self, view: impl FnOnce(&Records) -> T) -> T {
        view(&lock(&self.simulation.shared.records))
    }

    /// Waits until the records satisfy a predicate, which is asked once and after every change.
    ///
    /// # Errors
    /// It does not within `within`.
    pub async fn wait_until(
        &self,
        within: Duration,
        predicate: impl FnMut(&Records) -> bool,
    ) -> Result<(), TimedOut> {
        let shared = &self.simulation.shared;
        shared
            .bell
            .wait_for(within, &shared.records, predicate)
            .await
    }

    /// Waits until at least so many messages were accepted.
    ///
    /// # Errors
    /// Fewer were within `within`.
    pub async fn wait_for_sent(&self, count: u64, within: Duration) -> Result<(), TimedOut> {
        self.wait_until(within, |records| records.counters.sent >= count)
            .await
    }

    /// Waits until every update was confirmed by its poller or accepted by its webhook.
    ///
    /// # Errors
    /// Some were not within `within`.
    pub async fn wait_until_drained(&self, within: Duration) -> Result<(), TimedOut> {
        self.wait_until(within, |records| records.counters.updates_pending() == 0)
            .await
    }
}

impl Drop for TelegramSimulator {
    fn drop(&mut self) {
        self.simulation.shared.open.cancel();
    }
}
