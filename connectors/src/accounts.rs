//! The channel accounts of a process, ready to work.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::Semaphore;
use tributary_base::media::MediaService;
use tributary_bus::{Bus, ChannelId, Group, Lane, LaneSpec};
use tributary_config::{Channel, Invalid, Problem, Settings};
use url::Url;

use crate::{
    Connector, ConnectorStore, Context, FetchQueue, InboundSink, Ledger, MediaShelf,
    call_log::Redactor,
    media::{AccountMedia, FetchPolicy, Fetcher, Outbound},
    registry,
    registry::OnUncertain,
};

/// One channel account.
pub struct Account {
    pub channel: Channel,
    pub connector: Arc<dyn Connector>,
    pub sink: InboundSink,
    pub on_uncertain: OnUncertain,
    /// Takes the account's secrets out of its log.
    pub(crate) redactor: Redactor,
    pub(crate) media: AccountMedia,
}

/// The accounts of a process, by id.
pub struct Accounts {
    accounts: BTreeMap<ChannelId, Arc<Account>>,
    media: Option<MediaService>,
}

impl Context {
    /// Where the internet reaches an account: `<ingress.public_url>/channels/<id>`.
    pub fn public_url_of(channel: &Channel, settings: &Settings) -> Option<Url> {
        let mut url = settings.ingress.public_url.clone()?;
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(["channels", &channel.id]);
        Some(url)
    }
}

impl Accounts {
    /// Builds the accounts of one kind, or of all kinds.
    ///
    /// # Errors
    /// Every mistake of every account.
    pub fn build(
        settings: &Arc<Settings>,
        kind: Option<&str>,
        store: &ConnectorStore,
        bus: &Arc<dyn Bus>,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, Invalid> {
        let mut accounts = BTreeMap::new();
        let mut problems = Vec::new();
        let wanted = |channel: &&Channel| kind.is_none_or(|kind| channel.kind == kind);
        for channel in settings.channels.values().filter(wanted) {
            let shelf = store
                .media()
                .map(|media| MediaShelf::new(media.clone(), &channel.organization, settings));
            let context = Context {
                channel: channel.clone(),
                settings: Arc::clone(settings),
                database: Some(store.database().clone()),
                bus: Some(Arc::clone(bus)),
                public_url: Context::public_url_of(channel, settings),
                media: shelf.clone(),
            };
            match registry::build(&context) {
                Ok(built) => {
                    let database = store.database().clone();
                    let access =
                        match Outbound::new(shelf.clone(), database.clone(), channel, settings) {
                            Ok(access) => access,
                            Err(error) => {
                                problems.push(Problem::new("media", error.to_string()));
                                continue;
                            }
                        };
                    let queue = built
                        .connector
                        .media()
                        .map(|_| FetchQueue::new(database, channel));
                    let sink = InboundSink::new(Arc::clone(bus), channel, settings)
                        .with_ledger(ledger)
                        .with_fetches(queue.clone());
                    let fetcher = queue.map(|queue| Fetcher {
                        connector: Arc::clone(&built.connector),
                        sink: sink.clone(),
                        queue,
                        shelf,
                        policy: FetchPolicy::new(settings),
                        turn: Arc::new(Semaphore::new(1)),
                    });
                    let media = AccountMedia {
                        access: Arc::new(access),
                        fetcher,
                    };
                    let account = Account {
                        redactor: Redactor::new(&built.connector.secrets()),
                        channel: channel.clone(),
                        connector: built.connector,
                        sink,
                        on_uncertain: built.common.on_uncertain,
                        media,
                    };
                    accounts.insert(ChannelId(channel.id.clone()), Arc::new(account));
                }
                Err(mut found) => problems.append(&mut found),
            }
        }
        if problems.is_empty() {
            let media = store.media().cloned();
            Ok(Self { accounts, media })
        } else {
            Err(Invalid(problems))
        }
    }

    /// Where media is kept; `None`: nowhere.
    pub fn media(&self) -> Option<&MediaService> {
        self.media.as_ref()
    }

    /// An account by its id.
    pub fn get(&self, id: &str) -> Option<&Arc<Account>> {
        self.accounts.get(&ChannelId::from(id))
    }

    /// The groups of workers that these accounts belong to, each with its lanes.
    pub fn groups(&self) -> Vec<(Group, Vec<Lane>)> {
        let mut groups: BTreeMap<&str, Vec<Lane>> = BTreeMap::new();
        for (id, account) in &self.accounts {
            groups
                .entry(account.channel.kind.as_str())
                .or_default()
                .push(Lane::Delivery(id.clone()));
        }
        groups
            .into_iter()
            .map(|(kind, lanes)| (Group::Connector(kind.to_owned()), lanes))
            .collect()
    }

    /// The delivery lanes, to be declared on the bus.
    pub fn lanes(&self) -> Vec<LaneSpec> {
        self.accounts
            .keys()
            .map(|id| LaneSpec {
                lane: Lane::Delivery(id.clone()),
                filter: None,
            })
            .collect()
    }
}
