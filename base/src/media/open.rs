//! From settings to a store and a signer.

use std::{
    fs, io,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use object_store::{ObjectStore, ObjectStoreScheme, local::LocalFileSystem, prefix::PrefixStore};
use tributary_config::{Problem, Secret, Settings};
use url::Url;

use super::{MediaLinks, MediaService, MediaStore, Shared};

/// The file of the key in `data.dir`.
const KEY_FILE: &str = "media.key";

/// Whether the data folder of this process is the only one there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// `up`, or an embedded bus: media may live in `data.dir`.
    Alone,
    /// Other processes must find the same media: only where `media.url` says.
    Fleet,
}

/// Why there is no media store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("media folder {path}: {reason}; check media.url and data.dir")]
    Folder { path: String, reason: io::Error },
    #[error("media key {path}: {reason}; set media.signing_key, or make the file readable")]
    Key { path: String, reason: String },
    #[error("media.url: {0}")]
    Url(String),
}

/// What is wrong with `media.url`; for `tributary check`.
pub fn check(settings: &Settings) -> Vec<Problem> {
    let Ok(url) = Url::parse(&settings.media.url) else {
        return Vec::new();
    };
    match ObjectStoreScheme::parse(&url) {
        Ok(_) => Vec::new(),
        Err(error) => vec![Problem::new("media.url", error.to_string())],
    }
}

/// Opens what `media.url` names. `None`: no media is kept. `ingress` is where the ingress of this process listens.
///
/// # Errors
/// The folder or the key cannot be made or read, or the URL cannot be used.
pub async fn open(
    settings: &Arc<Settings>,
    home: Home,
    ingress: Option<SocketAddr>,
) -> Result<Option<MediaService>, OpenError> {
    let settings = Arc::clone(settings);
    let opening = tokio::task::spawn_blocking(move || {
        let Some(store) = open_store(&settings, home)? else {
            return Ok(None);
        };
        let key = match settings.media.signing_key.is_empty() {
            true => own_key(&settings.data.dir)?,
            false => settings.media.signing_key.clone(),
        };
        let links = MediaLinks::new(key, &settings, ingress);
        Ok(Some(MediaService { store, links }))
    });
    opening
        .await
        .map_err(|error| OpenError::Url(error.to_string()))?
}

fn open_store(settings: &Settings, home: Home) -> Result<Option<MediaStore>, OpenError> {
    match (settings.media.url.as_str(), home) {
        ("off", _) | ("", Home::Fleet) => return Ok(None),
        ("", Home::Alone) => return folder(&settings.data.dir.join("media")).map(Some),
        _ => {}
    }
    let url = Url::parse(&settings.media.url).map_err(|error| OpenError::Url(error.to_string()))?;
    if url.scheme() == "file" {
        let path = url
            .to_file_path()
            .map_err(|()| OpenError::Url("write file:///folder".to_owned()))?;
        return folder(&path).map(Some);
    }
    bucket(&url).map(Some)
}

/// A folder, made when it is not there.
fn folder(path: &Path) -> Result<MediaStore, OpenError> {
    let failed = |reason| OpenError::Folder {
        path: path.display().to_string(),
        reason,
    };
    fs::create_dir_all(path).map_err(failed)?;
    let root = path.canonicalize().map_err(failed)?;
    let objects = LocalFileSystem::new_with_prefix(&root)
        .map_err(|error| failed(io::Error::other(error)))?
        // A message says `ready` only of bytes that outlive a power cut.
        .with_fsync(true);
    Ok(MediaStore(Arc::new(Shared {
        objects: Arc::new(objects),
        folder: Some(root),
        trouble: Mutex::new(None),
    })))
}

fn bucket(url: &Url) -> Result<MediaStore, OpenError> {
    let unusable = |error: object_store::Error| OpenError::Url(super::tell(&error));
    let (objects, prefix) =
        object_store::parse_url_opts(url, std::env::vars()).map_err(unusable)?;
    let objects: Arc<dyn ObjectStore> = match prefix.as_ref() {
        "" => Arc::from(objects),
        _ => Arc::new(PrefixStore::new(
            Arc::<dyn ObjectStore>::from(objects),
            prefix,
        )),
    };
    Ok(MediaStore::new(objects))
}

/// The key of this data folder; made by whoever asks first.
fn own_key(data: &Path) -> Result<Secret, OpenError> {
    let path = data.join(KEY_FILE);
    let failed = |reason: String| OpenError::Key {
        path: path.display().to_string(),
        reason,
    };
    let read = || match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= tributary_config::Media::KEY_LENGTH => {
            Ok(Some(Secret::new(text.trim())))
        }
        Ok(_) => Err("too short to be a key".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    if let Some(key) = read().map_err(failed)? {
        return Ok(key);
    }
    make_key(data, &path).map_err(|error| failed(error.to_string()))?;
    read()
        .map_err(failed)?
        .ok_or_else(|| failed("it vanished".to_owned()))
}

/// Writes a key beside its place and links it there, so that nobody reads half of one, and the first one stays.
fn make_key(data: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(data)?;
    let draft: PathBuf = data.join(format!("{KEY_FILE}.{}", uuid::Uuid::new_v4()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let written = file
        .write_all(hex::encode(rand::random::<[u8; 32]>()).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    fs::remove_file(&draft)?;
    written
}
