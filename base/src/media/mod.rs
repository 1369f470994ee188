//! The media store: bytes of pictures, recordings and files, kept once per organization under their SHA-256, in a folder or
//! in a bucket (`object_store`), and the signed links under which they are served.
//!
//! Knows nothing of messages. An object is `<organization>/<sha256>`; what is being written is below `_incoming/` and gets
//! its name when it is whole, so a crash leaves nothing but a temporary, which the sweeper deletes.

mod links;
mod names;
mod open;
mod read;
mod serve;
mod sniff;
mod sweep;
mod write;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{ObjectStore, path::Path};

pub use links::{LinkError, MediaLinks};
pub use names::{clean_name, safe_name};
pub use open::{Home, OpenError, check, open};
pub use read::{Found, Slice};
pub use serve::{MediaBody, MediaRequest, serve};
pub use sniff::settle as type_of;
pub use sweep::keep_swept;

/// Below this, uploads are written. No organization can be called so.
const INCOMING: &str = "_incoming";

/// Bytes on their way in or out.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct MediaStore(Arc<Shared>);

struct Shared {
    objects: Arc<dyn ObjectStore>,
    /// The folder, where it is one: what is interrupted leaves files there that object_store does not list.
    folder: Option<PathBuf>,
    /// Why writing does not work right now.
    trouble: Mutex<Option<String>>,
}

/// The store and the signer of its links. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MediaService {
    pub store: MediaStore,
    pub links: MediaLinks,
}

/// What an upload may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes.
    pub size: u64,
    /// For the whole of it.
    pub deadline: Duration,
}

/// What is known of stored bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 in lower-case hex: the id of the medium.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// From the bytes; see [`MediaStore::put`].
    pub mime: String,
    /// Pixels, width and height, of a picture.
    pub pixels: Option<(u32, u32)>,
}

/// Why bytes were not stored. Nothing of them is left.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error("larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("not complete after {} s", .0.as_secs())]
    Slow(Duration),
    /// Their source broke off.
    #[error("the bytes broke off: {0}")]
    Source(std::io::Error),
    /// An operator must act.
    #[error("the media store is full; free space where media.url points")]
    Full,
    #[error("the media store cannot be written: {0}")]
    Store(String),
}

/// The store does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the media store cannot be read: {0}")]
pub struct ReadError(pub String);

impl MediaStore {
    /// A store in a bucket or anything else that `object_store` knows.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self(Arc::new(Shared {
            objects,
            folder: None,
            trouble: Mutex::new(None),
        }))
    }

    fn objects(&self) -> &dyn ObjectStore {
        self.0.objects.as_ref()
    }

    /// Why the latest write failed, until one works again; for `/readyz` and the like.
    pub fn trouble(&self) -> Option<String> {
        self.0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note_trouble(&self, trouble: Option<String>) {
        *self
            .0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

impl std::fmt::Debug for MediaStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MediaStore({})", self.0.objects)
    }
}

/// The type of the bytes that begin so: what they show wins over what is `declared` of them.
pub fn sniff_type(head: &[u8], declared: Option<&str>) -> String {
    sniff::settle(head, declared)
}

/// SHA-256 in lower-case hex.
pub(crate) fn is_media_id(id: &str) -> bool {
    id.len() == 64
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// As the settings allow it: lower-case letters, digits and `-`.
pub(crate) fn is_organization(id: &str) -> bool {
    (1..=48).contains(&id.len())
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-'))
}

/// Where bytes are; `None` when one of the two is no id.
fn location(organization: &str, id: &str) -> Option<Path> {
    (is_organization(organization) && is_media_id(id)).then(|| Path::from_iter([organization, id]))
}

/// An error of the store without what follows `?` in its URLs, where providers put signatures.
fn tell(error: &object_store::Error) -> String {
    let text = error.to_string();
    let words = text.split(' ').map(|word| match word.split_once('?') {
        Some((url, _)) if url.contains("://") => url,
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}
