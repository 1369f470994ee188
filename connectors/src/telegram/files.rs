//! Inbound media: how a file is named in a message, and how its bytes are had.
//!
//! `getFile` first, then a download under a link that is good for an hour. Telegram's cloud hands out files up to 20 MB
//! (https://core.telegram.org/bots/api#getfile);
//! an own Bot API server in local mode hands out paths of its disk instead, which are read where `local_files` says.

use std::{
    fmt, io,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use futures::StreamExt;
use serde_json::json;
use tokio::{fs, io::AsyncReadExt};

use super::{
    client::{CallError, Client, Refusal},
    wire::FileInfo,
};
use crate::{CallLog, FetchError, MediaStream};

const CALL_DEADLINE: Duration = Duration::from_secs(15);
const CHUNK: usize = 64 * 1024;

/// What names a file: `<kind>:<unique id>:<file id>`. The file id works for this bot only; the unique id is the same
/// for the same bytes whoever sends them, and fetches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub kind: String,
    pub unique_id: String,
    pub file_id: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.unique_id, self.file_id)
    }
}

impl Source {
    /// `None`: not written by this channel.
    pub(super) fn parse(source: &str) -> Option<Self> {
        let mut parts = source.splitn(3, ':').map(str::to_owned);
        Some(Self {
            kind: parts.next()?,
            unique_id: parts.next()?,
            file_id: parts.next().filter(|id| !id.is_empty())?,
        })
    }
}

/// Opens what a source names; `local` is where the files of a server in local mode are.
pub(super) async fn open(
    client: &Client,
    local: Option<&Path>,
    source: &str,
) -> Result<MediaStream, FetchError> {
    let source = Source::parse(source).ok_or_else(|| gone("not a file of Telegram"))?;
    let request = json!({"file_id": source.file_id});
    let info: FileInfo = client
        .call("getFile", &request, CALL_DEADLINE, &CallLog::nowhere())
        .await
        .map_err(refused)?;
    let path = info
        .file_path
        .filter(|path| !path.is_empty())
        .ok_or_else(|| gone("Telegram does not hand this file out"))?;
    if path.split('/').any(|part| matches!(part, "." | "..")) && !path.starts_with('/') {
        return Err(gone(
            "the Bot API server names a file outside of the bot's folder",
        ));
    }
    if Path::new(&path).is_absolute() {
        return on_disk(client, local, &path).await;
    }
    let mut stream = client
        .download(&path, CALL_DEADLINE)
        .await
        .map_err(refused)?;
    stream.size = stream.size.or(info.file_size);
    Ok(stream)
}

/// What the refusal of a file means. No text of it holds the token: the client takes it out.
fn refused(error: CallError) -> FetchError {
    let reason = error.to_string();
    let CallError::Refused(Refusal {
        code,
        description,
        retry_after,
        ..
    }) = error
    else {
        return FetchError::Unavailable {
            retry_after: None,
            reason,
        };
    };
    let description = description.to_lowercase();
    match code {
        _ if description.contains("temporarily unavailable") => FetchError::Unavailable {
            retry_after: Some(Duration::from_secs(5)),
            reason,
        },
        429 | 500..=599 | 401 | 409 | 421 => FetchError::Unavailable {
            retry_after: retry_after.map(Duration::from_secs),
            reason,
        },
        400 if description.contains("file is too big") => gone(
            "larger than the 20 MB that Telegram hands out to bots; an own Bot API server in local mode has no such limit",
        ),
        _ => gone(&format!("Telegram no longer has it: {reason}")),
    }
}

fn gone(reason: &str) -> FetchError {
    FetchError::Gone {
        reason: reason.to_owned(),
    }
}

async fn on_disk(
    client: &Client,
    local: Option<&Path>,
    path: &str,
) -> Result<MediaStream, FetchError> {
    let Some(local) = local else {
        return Err(gone(
            "the Bot API server runs in local mode and keeps its files on its own disk; set local_files of the channel \
             to where they can be read",
        ));
    };
    let path = below(client.token(), local, path)
        .ok_or_else(|| gone("the Bot API server names a file outside of the bot's folder"))?;
    let unavailable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => gone("not there in local_files (any more)"),
        kind => FetchError::Unavailable {
            retry_after: None,
            reason: format!("local_files cannot be read: {kind}"),
        },
    };
    let mut file = fs::File::open(&path).await.map_err(unavailable)?;
    let size = file.metadata().await.map_err(unavailable)?.len();
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
            let read = file.read_buf(&mut chunk).await;
            let end = !matches!(read, Ok(read) if read > 0);
            let item = match read {
                Ok(0) => return,
                Ok(_) => Ok(chunk.freeze()),
                // The path would tell the token.
                Err(error) => Err(io::Error::from(error.kind())),
            };
            if sender.send(item).await.is_err() || end {
                return;
            }
        }
    });
    let body = futures::stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    Ok(MediaStream {
        body: body.boxed(),
        mime: None,
        size: Some(size),
        name,
    })
}

/// The server's path, from the bot's folder on (`<work dir>/<token>/documents/file_7.pdf`), below `local`.
fn below(token: &str, local: &Path, path: &str) -> Option<PathBuf> {
    let mut parts = Path::new(path)
        .components()
        .skip_while(|part| part.as_os_str() != token)
        .peekable();
    parts.peek()?;
    let inner: PathBuf = parts
        .map(|part| matches!(part, Component::Normal(_)).then_some(part))
        .collect::<Option<_>>()?;
    Some(local.join(inner))
}

#[cfg(test)]
mod tests {
    use tributary_config::Secret;

    use super::*;

    #[test]
    fn sources_read_as_written() {
        let source = Source {
            kind: "document".to_owned(),
            unique_id: "AgADd".to_owned(),
            file_id: "BQACdoc".to_owned(),
        };
        assert_eq!(Source::parse(&source.to_string()), Some(source));
        for text in ["", "document", "document:AgADd", "document:AgADd:"] {
            assert_eq!(Source::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_files_of_the_bot_are_read() {
        let inside = |path: &str| below("1:A", Path::new("/mnt"), path);
        assert_eq!(
            inside("/var/lib/telegram-bot-api/1:A/documents/file_7.pdf"),
            Some(PathBuf::from("/mnt/1:A/documents/file_7.pdf"))
        );
        for path in [
            "/etc/passwd",
            "/var/lib/1:A/../../etc/passwd",
            "/var/2:B/documents/file_7.pdf",
        ] {
            assert_eq!(inside(path), None, "{path}");
        }
    }

    #[tokio::test]
    async fn files_of_a_server_in_local_mode_are_read_from_its_folder() {
        let token = "1:A";
        let url = "http://127.0.0.1:1".parse().expect("a URL");
        let client = Client::new(&url, Secret::new(token)).expect("a client");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path().join(token).join("documents");
        fs::create_dir_all(&folder).await.expect("a folder");
        let content = vec![7_u8; 3 * CHUNK + 5];
        fs::write(folder.join("file_7.pdf"), &content)
            .await
            .expect("a file");
        let there = "/var/lib/telegram-bot-api/1:A/documents/file_7.pdf";
        let opened = on_disk(&client, Some(dir.path()), there).await;
        let mut stream = opened.expect("it is there");
        assert_eq!(stream.size, Some(content.len() as u64));
        let mut read = Vec::new();
        while let Some(chunk) = stream.body.next().await {
            read.extend_from_slice(&chunk.expect("a chunk"));
        }
        assert!(read == content);
        let reason = async |local: Option<&Path>, path: &str| {
            let error = on_disk(&client, local, path).await.err();
            error.expect("no bytes").to_string()
        };
        assert!(reason(None, there).await.contains("local_files"));
        let away = "/var/lib/telegram-bot-api/1:A/documents/file_8.pdf";
        for reason in [
            reason(Some(dir.path()), away).await,
            reason(Some(dir.path()), "/etc/passwd").await,
        ] {
            assert!(!reason.contains(token), "{reason}");
        }
    }

    #[test]
    fn every_refusal_of_a_file() {
        let class = |code, description: &str| {
            let error = CallError::Refused(Refusal {
                code,
                description: description.to_owned(),
                ..Refusal::default()
            });
            match refused(error) {
                FetchError::Gone { .. } => "gone",
                FetchError::TooLarge { .. } => "too large",
                FetchError::Unavailable { .. } => "unavailable",
            }
        };
        for (code, description, expected) in [
            (400, "Bad Request: file is too big", "gone"),
            (
                400,
                "Bad Request: wrong file_id or the file is temporarily unavailable",
                "unavailable",
            ),
            (400, "Bad Request: invalid file_id", "gone"),
            (404, "", "gone"),
            (429, "Too Many Requests: retry after 7", "unavailable"),
            (502, "", "unavailable"),
            (401, "Unauthorized", "unavailable"),
        ] {
            assert_eq!(class(code, description), expected, "{code} {description}");
        }
    }
}
