//! The files one bot can name: what it sent, and what was sent to it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::kind::FileKind;

/// A file as it came, before it has an id.
#[derive(Debug, Clone)]
pub(super) struct NewFile {
    pub kind: FileKind,
    pub bytes: Bytes,
    pub name: Option<String>,
    pub mime: Option<String>,
    /// What `file_size` says; `None`: the truth.
    pub told_size: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Stored {
    pub id: String,
    pub unique_id: String,
    pub kind: FileKind,
    pub bytes: Bytes,
    /// Lower-case hex.
    pub sha256: String,
    pub name: Option<String>,
    pub mime: String,
    pub told_size: u64,
    /// Pixels, of an image.
    pub dimensions: Option<(i64, i64)>,
}

/// Bounded by the bytes it holds: the oldest files become unknown.
pub(super) struct Files {
    bot_id: i64,
    limit: usize,
    held: usize,
    made: u64,
    by_id: HashMap<String, Arc<Stored>>,
    order: VecDeque<String>,
    paths: HashMap<String, String>,
    expired: Vec<String>,
}

impl Files {
    pub(super) fn new(bot_id: i64, limit: usize) -> Self {
        Self {
            bot_id,
            limit,
            held: 0,
            made: 0,
            by_id: HashMap::new(),
            order: VecDeque::new(),
            paths: HashMap::new(),
            expired: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, file: NewFile) -> Arc<Stored> {
        self.made += 1;
        let digest = Sha256::digest(&file.bytes);
        let serial = format!("{}:{}", self.bot_id, self.made);
        let stored = Arc::new(Stored {
            id: format!("{}{}", file.kind.prefix(), URL_SAFE_NO_PAD.encode(serial)),
            unique_id: format!("AQAD{}", URL_SAFE_NO_PAD.encode(&digest[..9])),
            kind: file.kind,
            sha256: hex::encode(digest),
            name: file.name,
            mime: file.mime.unwrap_or_else(|| file.kind.mime().to_owned()),
            told_size: file.told_size.unwrap_or(file.bytes.len() as u64),
            dimensions: dimensions(&file.bytes),
            bytes: file.bytes,
        });
        self.held += stored.bytes.len();
        self.order.push_back(stored.id.clone());
        self.by_id.insert(stored.id.clone(), Arc::clone(&stored));
        while self.held > self.limit && self.order.len() > 1 {
            self.forget_oldest();
        }
        stored
    }

    fn forget_oldest(&mut self) {
        let Some(id) = self.order.pop_front() else {
            return;
        };
        if let Some(file) = self.by_id.remove(&id) {
            self.held -= file.bytes.len();
        }
        self.paths.retain(|_, of| *of != id);
        self.expired.retain(|of| *of != id);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<Stored>> {
        self.by_id.get(id)
    }

    /// The path to download it from, the same until links are let expire; `None`: it is not available any more.
    pub(super) fn path(&mut self, id: &str) -> Option<String> {
        let file = self.by_id.get(id)?;
        if self.expired.iter().any(|of| of == id) {
            return None;
        }
        if let Some((path, _)) = self.paths.iter().find(|(_, of)| of.as_str() == id) {
            return Some(path.clone());
        }
        self.made += 1;
        let ending = file
            .name
            .as_deref()
            .and_then(|name| name.rsplit_once('.'))
            .map(|(_, ending)| ending)
            .filter(|ending| ending.chars().all(|c| c.is_ascii_alphanumeric()))
            .unwrap_or_else(|| file.kind.ending());
        let path = format!("{}/file_{}.{ending}", file.kind.folder(), self.made);
        self.paths.insert(path.clone(), id.to_owned());
        Some(path)
    }

    /// Gives a file another path.
    pub(super) fn put_at(&mut self, id: &str, path: &str) {
        self.paths.retain(|_, of| of != id);
        self.paths.insert(path.to_owned(), id.to_owned());
    }

    pub(super) fn at(&self, path: &str) -> Option<&Arc<Stored>> {
        self.by_id.get(self.paths.get(path)?)
    }

    /// Download links given so far stop working.
    pub(super) fn expire_links(&mut self) {
        self.paths.clear();
    }

    /// `getFile` no longer works for it, nor do its links; `false`: there is none.
    pub(super) fn expire(&mut self, id: &str) -> bool {
        if !self.by_id.contains_key(id) {
            return false;
        }
        self.paths.retain(|_, of| of != id);
        self.expired.push(id.to_owned());
        true
    }
}

fn dimensions(bytes: &[u8]) -> Option<(i64, i64)> {
    let size = imagesize::blob_size(bytes).ok()?;
    Some((
        i64::try_from(size.width).ok()?,
        i64::try_from(size.height).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &'static [u8]) -> NewFile {
        NewFile {
            kind: FileKind::Document,
            bytes: Bytes::from_static(bytes),
            name: Some("a b.pdf".into()),
            mime: None,
            told_size: None,
        }
    }

    #[test]
    fn ids_differ_and_the_same_bytes_are_recognized() {
        let mut files = Files::new(1, 100);
        let (first, second) = (files.add(file(b"same")), files.add(file(b"same")));
        assert_ne!(first.id, second.id);
        assert_eq!(first.unique_id, second.unique_id);
        assert_ne!(Files::new(2, 100).add(file(b"same")).id, first.id);
        let path = files.path(&first.id).expect("it is there");
        assert!(
            path.starts_with("documents/file_") && path.ends_with(".pdf"),
            "{path}"
        );
        assert_eq!(files.path(&first.id).as_deref(), Some(path.as_str()));
        files.expire_links();
        assert!(files.at(&path).is_none());
        assert_ne!(files.path(&first.id), Some(path));
        assert!(files.expire(&first.id));
        assert_eq!(files.path(&first.id), None);
    }

    #[test]
    fn what_it_holds_is_bounded() {
        let mut files = Files::new(1, 10);
        let first = files.add(file(b"12345678"));
        let second = files.add(file(b"12345678"));
        assert!(files.get(&first.id).is_none());
        assert!(files.get(&second.id).is_some());
    }
}
