//! Processor time of processes, from `/proc`.

use std::{collections::HashMap, fs, time::Duration};

use anyhow::{Context as _, Result};

/// The unit of the times in `/proc/<pid>/stat`: `USER_HZ`, which is 100 on every platform that Debian supports.
const TICK: Duration = Duration::from_millis(10);

/// The servers that tests/bench/run started, by the first process that tests/servers noted for each.
pub fn servers() -> Result<Vec<(&'static str, u32)>> {
    let mut found = Vec::new();
    for (name, variable) in [
        ("RabbitMQ", "BENCH_RABBITMQ_PIDS"),
        ("PostgreSQL", "BENCH_POSTGRES_PIDS"),
    ] {
        let path =
            std::env::var(variable).with_context(|| format!("{variable}; use tests/bench/run"))?;
        let pids = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let first = pids.split_whitespace().next().context("no process")?;
        found.push((name, first.parse()?));
    }
    Ok(found)
}

/// What processes spent since they began, each with its children, but for those that are named themselves.
pub struct Spent(Vec<(&'static str, Duration)>);

/// What `/proc/<pid>/stat` says.
struct Stat {
    parent: u32,
    /// Of the process and of its children that were waited for.
    ticks: u32,
}

impl Spent {
    /// Reads what each of the processes has spent until now.
    pub fn by(processes: &[(&'static str, u32)]) -> Result<Self> {
        let mut stats = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // It may have ended meanwhile.
            if let Some(stat) = fs::read_to_string(format!("/proc/{pid}/stat"))
                .ok()
                .and_then(|text| read(&text))
            {
                stats.insert(pid, stat);
            }
        }
        for (_, pid) in processes {
            if let Some(stat) = stats.get_mut(pid) {
                stat.parent = 0;
            }
        }
        let spent = processes
            .iter()
            .map(|(name, pid)| (*name, with_children(&stats, *pid)));
        Ok(Self(spent.collect()))
    }

    /// Prints the processor time per message of each process since `before`.
    pub fn report_since(&self, before: &Self, messages: usize) {
        let micros = |spent: Duration| spent.as_secs_f64() * 1e6 / messages as f64;
        let mut total = Duration::ZERO;
        let mut parts = Vec::new();
        for ((name, now), (_, then)) in self.0.iter().zip(&before.0) {
            let spent = now.saturating_sub(*then);
            total += spent;
            parts.push(format!("{name} {:.0}", micros(spent)));
        }
        println!(
            "             processor time per message: {:.0} us ({})",
            micros(total),
            parts.join(", ")
        );
    }
}

fn with_children(stats: &HashMap<u32, Stat>, pid: u32) -> Duration {
    let own = stats.get(&pid).map_or(0, |stat| stat.ticks);
    let children = stats
        .iter()
        .filter(|(child, stat)| stat.parent == pid && **child != pid);
    TICK * own
        + children
            .map(|(child, _)| with_children(stats, *child))
            .sum::<Duration>()
}

/// Fields 4 and 14 to 17 of proc(5); the second, a name in parentheses, may hold anything.
fn read(stat: &str) -> Option<Stat> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|text| text.parse::<u32>());
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks.sum::<Result<u32, _>>().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_passed_over() {
        let stat = read("7 (a) b (c) S 3 7 7 0 -1 0 0 0 0 0 10 20 1 2 20 0").expect("a stat");
        assert_eq!((stat.parent, stat.ticks), (3, 33));
    }
}
