//! What is watched while a test runs: every log line at every level, every panic of any task, every connection.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    panic,
    sync::{
        Arc, Mutex, Once, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tributary_base::telemetry::log_filter;

use crate::support::{Log, lock};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Keeps all log lines from now on: what a process logs with the filter `trace`.
pub fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| Log::listen(log_filter("trace").expect("a filter")))
}

/// Counts panics from now on: also those of tasks that nobody waits for.
pub fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::AcqRel);
            usual(info);
        }));
    });
}

/// How many tasks have panicked.
pub fn panics() -> usize {
    PANICS.load(Ordering::Acquire)
}

/// The connections of this process, looked at every few milliseconds.
pub struct Connections {
    found: Arc<Mutex<Found>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Found {
    all: usize,
    outside: BTreeSet<IpAddr>,
}

impl Connections {
    pub fn watch() -> Self {
        let found = Arc::<Mutex<Found>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (writing, stopped) = (Arc::clone(&found), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let peers = peers();
                let mut found = lock(&writing);
                found.all += peers.len();
                found.outside.extend(
                    peers
                        .into_iter()
                        .filter(|peer| !peer.to_canonical().is_loopback()),
                );
                drop(found);
                thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            found,
            stop,
            thread: Some(thread),
        }
    }

    /// Other hosts that there was a connection to, or an attempt at one.
    pub fn outside(&self) -> Vec<IpAddr> {
        lock(&self.found).outside.iter().copied().collect()
    }

    /// How often a connection was seen.
    pub fn seen(&self) -> usize {
        lock(&self.found).all
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The other ends of this process's sockets, from `/proc` (proc_pid_net(5)).
fn peers() -> Vec<IpAddr> {
    let own: BTreeSet<String> = fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix(']')?.to_owned())
        })
        .collect();
    ["tcp", "tcp6", "udp", "udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/self/net/{table}")).ok())
        .flat_map(|table| {
            let lines = table.lines().skip(1);
            let peers: Vec<IpAddr> = lines.filter_map(|line| peer(line, &own)).collect();
            peers
        })
        .collect()
}

/// The other end of one line, where the socket is ours and has one.
fn peer(line: &str, own: &BTreeSet<String>) -> Option<IpAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if !own.contains(*fields.get(9)?) {
        return None;
    }
    let (address, _) = fields[2].split_once(':')?;
    // Words of 32 bits, each in the byte order of the machine.
    let mut bytes = Vec::new();
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    (!ip.is_unspecified()).then_some(ip)
}

#[test]
fn other_ends_are_read_as_the_kernel_writes_them() {
    let own = BTreeSet::from(["4242".to_owned()]);
    let line = |address: &str, inode: &str| {
        format!(
            "  1: 0100007F:1F90 {address}:0050 02 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0"
        )
    };
    let found =
        |address: &str, inode: &str| peer(&line(address, inode), &own).map(|ip| ip.to_string());
    if cfg!(target_endian = "little") {
        assert_eq!(found("0100007F", "4242").as_deref(), Some("127.0.0.1"));
        assert_eq!(
            found("FEA9FEA9", "4242").as_deref(),
            Some("169.254.169.254")
        );
        let v6 = "000000FD000000000000000001000000";
        assert_eq!(found(v6, "4242").as_deref(), Some("fd00::1"));
    }
    assert_eq!(found("0100007F", "7"), None, "somebody else's");
    assert_eq!(found("00000000", "4242"), None, "it listens");
}
