//! `tributary channels`: how every channel account is doing, and what a person should do about it.

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use tributary_bus::Lane;
use tributary_config::Settings;
use tributary_router::store::{ChannelCondition, Store};

use super::visit_bus;

/// Prints a table of all configured accounts.
///
/// # Errors
/// The store cannot be reached or was not migrated. A bus that cannot be reached only leaves a column empty.
pub async fn channels(settings: &Settings) -> Result<()> {
    let store = Store::open(settings)
        .await
        .context("store; check store.url and that the server runs")?;
    anyhow::ensure!(
        store.pending().await? == 0,
        "the schema is not up to date; run `tributary migrate` first"
    );
    let rows = store.channel_conditions().await?;
    let mut depths = Vec::new();
    match visit_bus(settings).await {
        Ok(bus) => {
            for row in &rows {
                depths.push(bus.depth(&Lane::Delivery(row.id.clone())).await.ok());
            }
            bus.close().await;
        }
        Err(error) => eprintln!("note: what waits to be sent is not known: {error:#}"),
    }
    print!("{}", table(&rows, &depths, Utc::now()));
    Ok(())
}

/// The table, and below it what is to be done.
fn table(rows: &[ChannelCondition], depths: &[Option<u64>], now: DateTime<Utc>) -> String {
    if rows.is_empty() {
        return "no channels are configured\n".to_owned();
    }
    let mut cells = vec![
        [
            "CHANNEL",
            "KIND",
            "ORGANIZATION",
            "STATE",
            "SINCE",
            "WAITING",
            "REASON",
        ]
        .map(str::to_owned),
    ];
    for (n, row) in rows.iter().enumerate() {
        let waiting = depths.get(n).copied().flatten();
        cells.push([
            row.id.0.clone(),
            row.kind.clone(),
            row.organization.0.clone(),
            row.state.clone().unwrap_or_else(|| "unknown".to_owned()),
            row.since.map(|since| ago(now - since)).unwrap_or_default(),
            waiting
                .map(|waiting| waiting.to_string())
                .unwrap_or_default(),
            row.reason.clone().unwrap_or_default().replace('\n', " "),
        ]);
    }
    let mut text = columns(&cells);
    let actions = rows
        .iter()
        .filter_map(|row| Some((&row.id, row.action.as_ref()?)));
    for (n, (id, action)) in actions.enumerate() {
        if n == 0 {
            text.push_str("\nWhat to do:\n");
        }
        text.push_str(&format!("  {id}: {action}\n"));
    }
    text
}

/// Cells side by side, each column as wide as its widest.
fn columns<const N: usize>(cells: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            let lengths = cells.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in cells {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// How long ago, in one unit.
fn ago(time: chrono::TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use tributary_bus::{ChannelId, OrganizationId};

    use super::*;

    #[test]
    fn the_table_says_what_to_do() {
        let now: DateTime<Utc> = "2026-03-02T12:00:00Z".parse().expect("a time");
        let row = |id: &str, state: Option<&str>, action: Option<&str>| ChannelCondition {
            id: ChannelId::from(id),
            organization: OrganizationId::from("acme"),
            kind: "telegram".to_owned(),
            state: state.map(str::to_owned),
            reason: state.map(|state| format!("because {state}")),
            action: action.map(str::to_owned),
            since: state.map(|_| now - chrono::TimeDelta::minutes(3)),
        };
        let rows = [
            row(
                "shop",
                Some("misconfigured"),
                Some("check channels.shop.token"),
            ),
            row("new", None, None),
        ];
        assert_eq!(
            table(&rows, &[Some(17), None], now),
            "CHANNEL  KIND      ORGANIZATION  STATE          SINCE  WAITING  REASON\n\
             shop     telegram  acme          misconfigured  3 min  17       because misconfigured\n\
             new      telegram  acme          unknown\n\
             \n\
             What to do:\n  \
             shop: check channels.shop.token\n"
        );
    }

    #[test]
    fn times_are_in_one_unit() {
        for (seconds, expected) in [
            (-5, "0 s"),
            (59, "59 s"),
            (61, "1 min"),
            (7200, "2 h"),
            (200_000, "2 days"),
        ] {
            assert_eq!(ago(chrono::TimeDelta::seconds(seconds)), expected);
        }
    }
}
