//! What a process logs, so that it can be looked through for what must not be there.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::lock;

/// Keeps everything that is logged by this process.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps all lines from now on that pass the filter; once in a process.
    pub fn listen(filter: impl Into<EnvFilter>) -> Self {
        let log = Self(Arc::default());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(log.clone())
            .init();
        log
    }

    /// Whether this was logged.
    pub fn tells(&self, what: &str) -> bool {
        self.text().contains(what)
    }

    /// Fails when one of these was logged.
    pub fn hides<S: AsRef<str>>(&self, secrets: impl IntoIterator<Item = S>) {
        let text = self.text();
        for secret in secrets {
            let secret = secret.as_ref();
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} was logged");
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
