//! Every kind of channel there is: one line each.

use std::sync::Arc;

use serde::Deserialize;
use toml::Table;
use tributary_config::{Channel, Problem, Settings};

use crate::{Asset, Capabilities, Connector, Context, Factory, custom, telegram, widget};

/// The channels, in alphabetical order.
const REGISTRY: &[Entry] = &[
    entry::<custom::Custom>(),
    entry::<telegram::Telegram>(),
    entry::<widget::WidgetFactory>(),
];

type Build = fn(Table, &Context) -> Result<Arc<dyn Connector>, Vec<Problem>>;

/// What the registry keeps of a channel's [`Factory`].
struct Entry {
    kind: &'static str,
    build: Build,
    assets: fn() -> &'static [Asset],
}

const fn entry<F: Factory>() -> Entry {
    Entry {
        kind: F::KIND,
        build: build_account::<F>,
        assets: F::assets,
    }
}

fn build_account<F: Factory>(
    table: Table,
    context: &Context,
) -> Result<Arc<dyn Connector>, Vec<Problem>> {
    let path = format!("channels.{}", context.channel.id);
    let config = tributary_config::parse(table, &path).map_err(|invalid| invalid.0)?;
    F::build(config, context)
}

/// What to do with a send whose outcome is unknown, where the provider does not recognise a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUncertain {
    /// Send again: a doubled reply is better than a lost one.
    #[default]
    Resend,
    /// Let a person decide.
    Hold,
}

/// The settings that every account may have and that the harness serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Common {
    pub on_uncertain: OnUncertain,
}

/// The keys of [`Common`].
const COMMON_KEYS: [&str; 1] = ["on_uncertain"];

/// An account's connector and its common settings.
pub struct Built {
    pub connector: Arc<dyn Connector>,
    pub common: Common,
}

/// Builds the account that `context` names. No network, no disk.
///
/// # Errors
/// Every mistake of its settings, by key.
pub fn build(context: &Context) -> Result<Built, Vec<Problem>> {
    let channel = &context.channel;
    let mut own = channel.settings.clone();
    let mut shared = Table::new();
    for key in COMMON_KEYS {
        if let Some(value) = own.remove(key) {
            shared.insert(key.to_owned(), value);
        }
    }
    let common: Result<Common, _> =
        tributary_config::parse(shared, &format!("channels.{}", channel.id));
    let connector = match REGISTRY.iter().find(|entry| entry.kind == channel.kind) {
        Some(entry) => (entry.build)(own, context),
        None => Err(vec![unknown_kind(channel)]),
    };
    match (common, connector) {
        (Ok(common), Ok(connector)) => Ok(Built { connector, common }),
        (common, connector) => {
            let mut problems = common.err().map(|invalid| invalid.0).unwrap_or_default();
            problems.extend(connector.err().unwrap_or_default());
            Err(problems)
        }
    }
}

fn unknown_kind(channel: &Channel) -> Problem {
    Problem::new(
        format!("channels.{}.kind", channel.id),
        format!(
            "unknown kind {}; the kinds are {}",
            channel.kind,
            kinds().collect::<Vec<_>>().join(", ")
        ),
    )
}

/// Everything that is wrong with the configured accounts; for `tributary check`.
pub fn check(settings: &Settings) -> Vec<Problem> {
    let settings = Arc::new(settings.clone());
    let channels = settings.channels.values();
    channels
        .filter_map(|channel| build(&offline(channel, &settings)).err())
        .flatten()
        .collect()
}

/// What an account can carry; `None` when its settings are wrong.
pub fn capabilities(channel: &Channel, settings: &Arc<Settings>) -> Option<Capabilities> {
    let built = build(&offline(channel, settings)).ok()?;
    Some(built.connector.capabilities().clone())
}

/// Without database and bus: enough to build, not to work.
fn offline(channel: &Channel, settings: &Arc<Settings>) -> Context {
    Context {
        channel: channel.clone(),
        settings: Arc::clone(settings),
        database: None,
        bus: None,
        public_url: Context::public_url_of(channel, settings),
        media: None,
    }
}

/// The kinds of channels there are.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    REGISTRY.iter().map(|entry| entry.kind)
}

/// The files of all channels.
pub fn assets() -> impl Iterator<Item = &'static Asset> {
    REGISTRY.iter().flat_map(|entry| (entry.assets)())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use tributary_config::load_text;

    use super::{assets, check, kinds};

    fn problems(text: &str) -> Vec<String> {
        let settings = load_text("test", text, &[]).expect("the common part is right");
        check(&settings).iter().map(ToString::to_string).collect()
    }

    /// The example config of a kind, with a value in the place of every secret.
    fn example(kind: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../config/examples")
            .join(format!("{kind}.toml"));
        let text = fs::read_to_string(path).expect("every kind has an example config");
        let lines = text.lines().map(|line| match line.split_once(" = \"env:") {
            Some((key @ "secret", _)) => {
                format!("{key} = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"")
            }
            Some((key, _)) => format!("{key} = \"123456789:AAExampleToken\""),
            None => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_example_works_and_knows_its_keys() {
        for kind in kinds() {
            let text = example(kind);
            assert_eq!(problems(&text), [""; 0], "{kind}");
            let found = problems(&format!("{text}\nunheard_of = 1\n"));
            assert_eq!(found.len(), 1, "{kind}: {found:?}");
            assert!(found[0].contains(".unheard_of: unknown key"), "{found:?}");
        }
    }

    #[test]
    fn kinds_and_paths_are_distinct() {
        let all: Vec<&str> = kinds().collect();
        assert!(all.is_sorted(), "{all:?}");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        let paths: Vec<&str> = assets().map(|asset| asset.path).collect();
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
        assert!(
            paths
                .iter()
                .all(|path| path.starts_with('/') && !path.starts_with("/channels/"))
        );
    }

    #[test]
    fn mistakes_of_accounts_are_named_by_key_all_at_once() {
        let found = problems(
            "[demo]\nenabled = false\n[organizations.acme]\nname = 'Acme'\n\
             [channels.pigeon]\n\
             [channels.shop]\nkind = 'telegram'\ntoken = '1:a'\ntokn = 'x'\non_uncertain = 'maybe'\n",
        );
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].starts_with("channels.pigeon.kind: unknown kind pigeon; the kinds are "));
        assert!(found[0].contains("telegram"));
        assert!(
            found[1].starts_with("channels.shop.on_uncertain: "),
            "{found:#?}"
        );
        assert!(
            found[2].starts_with("channels.shop.tokn: unknown key"),
            "{found:#?}"
        );
    }
}
