//! The channel accounts of a process, ready to work.

use std::{collections::BTreeMap, sync::Arc};

use tributary_bus::{Bus, ChannelId, Group, Lane, LaneSpec};
use tributary_config::{Channel, Invalid, Settings};
use url::Url;

use crate::{
    Connector, ConnectorStore, Context, InboundSink, Ledger, call_log::Redactor, registry,
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
}

/// The accounts of a process, by id.
pub struct Accounts {
    accounts: BTreeMap<ChannelId, Arc<Account>>,
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
            let context = Context {
                channel: channel.clone(),
                settings: Arc::clone(settings),
                database: Some(store.database().clone()),
                bus: Some(Arc::clone(bus)),
                public_url: Context::public_url_of(channel, settings),
            };
            match registry::build(&context) {
                Ok(built) => {
                    let account = Account {
                        redactor: Redactor::new(&built.connector.secrets()),
                        channel: channel.clone(),
                        connector: built.connector,
                        sink: InboundSink::new(Arc::clone(bus), channel, settings)
                            .with_ledger(ledger),
                        on_uncertain: built.common.on_uncertain,
                    };
                    accounts.insert(ChannelId(channel.id.clone()), Arc::new(account));
                }
                Err(mut found) => problems.append(&mut found),
            }
        }
        if problems.is_empty() {
            Ok(Self { accounts })
        } else {
            Err(Invalid(problems))
        }
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
